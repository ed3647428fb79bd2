"""The examples of the pages "How to add", run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "add").glob("*.md"))
EXAMPLES = {page.stem: re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S) for page in PAGES}


def test_every_page_has_a_contract_and_says_what_to_touch() -> None:
    assert len(PAGES) == 7
    for page in PAGES:
        if page.stem != "index":
            headings = re.findall(r"^## (.*)$", page.read_text(), re.M)
            assert headings == ["Contract", "Example", "Touch"], page.name


def test_the_index_links_every_page() -> None:
    index = (PAGES[0].parent / "index.md").read_text()
    linked = re.findall(r"\]\((\w+)\.md\)", index)
    assert sorted(linked) == sorted(set(EXAMPLES) - {"index"})


@pytest.mark.parametrize("name", [name for name, blocks in EXAMPLES.items() if blocks])
def test_the_example_runs(tmp_path: Path, name: str) -> None:
    code = "\n".join(EXAMPLES[name])
    assert re.search(r"^assert ", code, re.M), "an example shows what it claims"
    # A process of its own: an example registers names.
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
