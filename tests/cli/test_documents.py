"""Every command line in the documents is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from momos_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = re.compile(r"(?:momos-compress|-m momos_cli) +(?=\S)")


def code(text: str) -> list[str]:
    """Lines of code: fenced, indented, or between single backticks (which may span lines)."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [*fences, *re.findall(r"^ {4}(.*)", prose.replace("\\\n", " "), flags=re.MULTILINE)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^ {4}.*", "", prose, flags=re.MULTILINE))
    return [*lines, *(" ".join(each.split()) for each in inline)]


def command_lines() -> list[tuple[str, str]]:
    """The name of a document, and the words behind the program's name in a line of it."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in code(path.read_text(encoding="utf-8")):
            start = PROGRAM.search(line)
            if start is not None:
                found.append((path.name, line[start.end() :]))
    return found


def parse(words: str) -> None:
    """Parse a command line without running it; CycloptsError where it is none."""
    app.parse_args(shlex.split(words, comments=True), print_error=False, exit_on_error=False)


@pytest.mark.parametrize(("document", "words"), command_lines())
def test_command_lines_of_the_documents_parse(document: str, words: str) -> None:
    parse(words)


def test_the_documents_have_command_lines_of_every_kind() -> None:
    lines = command_lines()
    assert {"README.md", "finetune.md", "study.md"} <= {document for document, _ in lines}
    assert ("README.md", "digits --c 0.05") in lines
    first = {words.split()[0] for _, words in lines}
    assert {"sweep", "inspect", "evaluate", "export", "finetune", "reproduce", "study", "report", "trace"} <= first


@pytest.mark.parametrize(
    "words", ["digits --capacity 0.05", "study --engine cloud", "export", "finetune x --epochs few"]
)
def test_a_wrong_command_line_does_not_parse(words: str) -> None:
    with pytest.raises(CycloptsError):
        parse(words)
