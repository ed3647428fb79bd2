"""The documentation site: built strictly, it loads nothing from another host, and says what is there."""

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from mkdocs.commands.build import build
from mkdocs.config import load_config

import momos_compress

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DOCS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]


class Page(HTMLParser):
    """What a page loads, what it links to, and which places it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.ids.add(values.get("id", ""))
        self.classes |= set(values.get("class", "").split())
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "link":
            if values.get("rel") not in ("canonical", "next", "prev"):
                self.loads.append(values.get("href", ""))
        else:
            self.loads += [values[key] for key in ("src", "srcset", "data", "poster") if key in values]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        # Strict: any warning, such as a link to nothing, ends the build.
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(out), strict=True))
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[str, Page]) -> None:
    assert len(pages) >= 20
    for name, page in pages.items():
        assert page.loads, name
        for address in page.loads:
            assert not urlsplit(address).scheme or address.startswith("data:"), (name, address)
            assert not urlsplit(address).netloc, (name, address)
    # The theme's script fetches a renderer for these, and for nothing else.
    assert not {"mermaid", "giscus"} & set().union(*(page.classes for page in pages.values()))
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet


def test_every_load_and_link_within_the_site_is_there(site: Path, pages: dict[str, Page]) -> None:
    followed = 0
    for name, page in pages.items():
        if name == "404.html":  # its addresses are those of a site at a server's root
            continue
        for address in (*page.loads, *page.links):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or not address:
                continue
            target = ((site / name).parent / unquote(parts.path)).resolve() if parts.path else (site / name)
            assert target.is_file(), (name, address)
            if parts.fragment and target.suffix == ".html" and not parts.fragment.startswith("__"):
                assert unquote(parts.fragment) in pages[target.relative_to(site).as_posix()].ids, (name, address)
            followed += 1
    assert followed > 500


def test_the_reference_has_every_public_name_and_no_other(pages: dict[str, Page]) -> None:
    found = {place for place in pages["reference.html"].ids if re.fullmatch(r"momos_compress\.\w+", place)}
    assert found == {f"momos_compress.{name}" for name in momos_compress.__all__}


def test_the_search_works_from_the_file_system(site: Path, pages: dict[str, Page]) -> None:
    assert "assets/iframe-worker.js" in pages["index.html"].loads
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = ")


# What the pages say


def test_the_page_of_rooms_names_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    rooms = {room for layer in layers for room in re.findall(r"\w+", layer)}
    there = {path.stem for path in (ROOT / "momos_compress").iterdir() if not path.name.startswith(("_", "py.typed"))}
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split("## The rooms")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == rooms & there


def test_the_records_of_the_architecture_page_are_where_it_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.M)
    assert len(rows) > 9
    for record, room in rows:
        place = ROOT / "momos_compress" / room
        files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
        assert any(re.search(rf"^class {record}\b", file.read_text(), re.M) for file in files), record


def test_the_journey_of_one_weight_has_its_shapes() -> None:
    from momos_compress.mosaic.blocks import row_layout

    page = (ROOT / "docs" / "architecture.md").read_text().split("## The journey")[1]
    shape, s = (64, 3, 7, 7), 4
    layout = row_layout(shape)
    matrix = layout.matrix(torch.zeros(shape))
    blocks = layout.cut(matrix, s)
    for found in (shape, tuple(matrix.shape), tuple(blocks.shape), (layout.count(64 * 147, s), s)):
        assert f"({', '.join(map(str, found))})" in page, found
    assert layout.join(blocks.reshape(-1, s), shape).shape == shape


def commands() -> list[str]:
    found = []
    for page in DOCS:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S):
            found += [line for line in block.splitlines() if line.startswith("momos-compress ")]
    return sorted(set(found))


def test_every_command_that_the_pages_show_has_these_options() -> None:
    from momos_cli.app import app

    lines = commands()
    assert len(lines) > 30
    for line in lines:
        app.parse_args(shlex.split(line, comments=True)[1:], exit_on_error=False, print_error=False)


def test_the_python_of_the_pages_compiles() -> None:
    blocks = [
        (page.name, block)
        for page in DOCS
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    ]
    assert len(blocks) > 5
    for name, block in blocks:
        compile(block, name, "exec")


def test_the_first_run_is_shown_alike_in_readme_and_site() -> None:
    shown = [
        re.search(r"^```text\n(digits -> .*?)^```$", (ROOT / page).read_text(), re.M | re.S)
        for page in ("README.md", "docs/index.md")
    ]
    assert all(shown)
    assert shown[0].group(1) == shown[1].group(1)  # type: ignore[union-attr]
