"""Prints pip's constraints for the lowest versions that pyproject.toml allows, one requirement a line.

Usage: python .ci/lowest.py [EXTRA ...] > constraints.txt
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


def main(extras: list[str]) -> None:
    """Turn each `name>=version` into `name==version`; what has no lower bound is left to pip."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    for requirement in requirements:
        text, _, marker = requirement.partition(";")
        found = re.fullmatch(r"([\w.-]+)(?:\[.*\])?\s*(?:>=|==)\s*([\w.]+)", text.strip())
        if found:
            print(f"{found[1]}=={found[2]}" + (f" ;{marker}" if marker else ""))


main(sys.argv[1:])
