"""English sentences that every installation has: prose in the docstrings of Python's standard library and of packages.

The files are read, not imported. Which sentences there are depends on the versions of Python and of the packages, their
order on those and the seed alone.
"""

import ast
import importlib.util
import inspect
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from momos_compress.common.atomic import atomic_writer

PACKAGES = ("numpy", "scipy", "sklearn", "torch")
PASSED_OVER = {"site-packages", "dist-packages", "test", "tests", "testing", "_vendor", "__pycache__"}
SHORTEST, LONGEST = 5, 40
SEED = 0

_ROLE = re.compile(r":[a-z:]+:`[~!]?([^`<]+?)(?: ?<[^>`]*>)?`")
_QUOTED = re.compile(r"`{1,2}([^`]+)`{1,2}_{0,2}")
_NO_PROSE = re.compile(r"^\s|^(>>>|\.\.|::|[-=~^*+|#:@]|\d+[.)] )|::$|^\w+\s*:\s|[-=~^]{3}", re.MULTILINE)
_END = re.compile(r"(?:(?<=\w\w[.!?])|(?<=[)\"'][.!?]))\s+(?=[A-Z\"(])")
_SENTENCE = re.compile(r"[A-Z][A-Za-z0-9 ,;:'\"()./-]*[.!?]")
_ABBREVIATED = re.compile(r"\b(e\.g|i\.e|vs|cf|al|Fig|Eq|Ref|pp|no|vol)\.$")
_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
_COMMON = re.compile(
    r"\b(?:an?|and|are|as|at|be|by|can|for|from|has|if|in|is|it|not|of|on|or|that|the|this|to|was|with)\b",
    re.IGNORECASE,
)


def calibration(n: int) -> list[str]:
    """The first n sentences of the first half of the order; no other n takes any that ``test`` gives."""
    return _first(_halves()[0], n)


def test(n: int) -> list[str]:
    """The first n sentences of the second half."""
    return _first(_halves()[1], n)


def write(path: Path, sentences: Sequence[str]) -> None:
    """One sentence a line; the file is there whole or not at all."""
    with atomic_writer(path) as file:
        file.write("".join(f"{sentence}\n" for sentence in sentences).encode())


def sentences_of(text: str) -> Iterator[str]:
    """The sentences of a docstring's prose: no code, lists, tables, headings or descriptions of parameters."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if _NO_PROSE.search(paragraph):
            continue
        plain = _QUOTED.sub(r"\1", _ROLE.sub(r"\1", " ".join(paragraph.split())))
        yield from filter(_is_prose, _END.split(plain))


def _is_prose(sentence: str) -> bool:
    if not _SENTENCE.fullmatch(sentence) or _ABBREVIATED.search(sentence) or sentence.count("(") != sentence.count(")"):
        return False
    words = [word.strip(",;:'\"()/.!?") for word in sentence.split()]
    plain = sum(bool(_WORD.fullmatch(word)) and word[1:] == word[1:].lower() for word in words)
    common = len(_COMMON.findall(sentence))
    return SHORTEST <= len(words) <= LONGEST and plain >= 0.85 * len(words) and common >= max(1, len(words) // 6)


@cache
def _halves() -> tuple[list[str], list[str]]:
    found: dict[str, str] = {}
    for root in (Path(sysconfig.get_paths()["stdlib"]), *map(_directory, PACKAGES)):
        for path in sorted(root.rglob("*.py")):
            if PASSED_OVER.isdisjoint(path.relative_to(root).parts):
                for docstring in _docstrings(path):
                    found |= {sentence.lower(): sentence for sentence in sentences_of(docstring)}
    order = sorted(found.values())
    random.Random(SEED).shuffle(order)
    return order[: len(order) // 2], order[len(order) // 2 :]


def _directory(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"sentences are taken from {package}, which is not installed")
    return Path(spec.submodule_search_locations[0])


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in the strings of others
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a file for another version of Python
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield docstring


def _first(half: list[str], n: int) -> list[str]:
    if n > len(half):
        raise ValueError(f"{n:,} sentences asked for, and there are {len(half):,}")
    return half[:n]
