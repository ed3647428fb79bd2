"""What the site takes from the rest of the repository: its reports and notes, the public names, the rooms' picture."""

import dataclasses
import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
NOTES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PUBLIC_NAMES, ROOMS = "<!-- public names -->", "<!-- rooms -->"


def on_files(files: Files, *, config: Any) -> Files:
    """Add the reports with their figures and tables, and the notes at the repository's top."""
    for path in (*(ROOT / name for name in NOTES), *sorted((ROOT / "reports").rglob("*"))):
        if path.is_file() and path.suffix in (".md", ".svg", ".csv"):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill the places that are marked, and point links at where the site has what the repository has elsewhere."""
    place = page.file.src_uri
    if place.startswith("reports/"):
        page.meta.setdefault("hide", ["toc"])  # their tables are wide
    if place in NOTES or place.startswith("reports/"):
        # In the repository docs/ lies beside these; in the site its pages lie at the top.
        markdown = re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    else:
        # In the repository these lie above docs/; in the site they lie in it.
        above = "../" * place.count("/")
        markdown = re.sub(rf"\]\({re.escape(above)}\.\./({'|'.join(NOTES)}|reports/)", rf"]({above}\1", markdown)
    # What stands between a mark and the end of its place is for who reads the repository itself.
    markdown = re.sub(rf"({PUBLIC_NAMES}|{ROOMS})\n.*?<!-- end -->", r"\1", markdown, flags=re.DOTALL)
    if PUBLIC_NAMES in markdown:
        entries = (f"::: momos_compress.{name}\n\n{settings_table(name)}" for name in public_names())
        markdown = markdown.replace(PUBLIC_NAMES, "\n\n".join(entries))
    return markdown.replace(ROOMS, rooms_svg()) if ROOMS in markdown else markdown


def public_names() -> list[str]:
    """The names in ``momos_compress.__all__``."""
    import momos_compress

    return list(momos_compress.__all__)


def settings_table(name: str) -> str:
    """What a record of settings says of its fields, as a table; nothing for other names."""
    import momos_compress
    from momos_compress.settings import ABOUT, about

    record = getattr(momos_compress, name)
    if not dataclasses.is_dataclass(record) or not all(ABOUT in field.metadata for field in dataclasses.fields(record)):
        return ""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for field in dataclasses.fields(record):
        default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
        known = about(field)
        bounds = f" It must {known.must()}." if known.bounded else ""
        names = f" One of {', '.join(known.names)}." if known.names else ""
        rows.append(f"| `{field.name}` | {default} | {known.help.replace('|', '/')}{bounds}{names} |")
    return "\n".join(rows)


def floors() -> tuple[list[list[str]], set[str]]:
    """The rooms, top to bottom, as the import contract lists them; and those that reading a file takes."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    (reading,) = (contract["source_modules"] for contract in contracts if contract["type"] == "forbidden")
    rooms = [[room.strip(" ()") for room in re.split(r"[|:]", layer)] for layer in layers]
    there = [[room for room in floor if any((ROOT / "momos_compress").glob(f"{room}*"))] for floor in rooms]
    return [floor for floor in there if floor], {name.rpartition(".")[2] for name in reading}


WIDTH, HEIGHT, GAP = 640, 34, 8


def rooms_svg() -> str:
    """The rooms as a picture: a floor a row, and each imports only from the floors below it."""
    rows, reading = floors()
    parts = []
    for number, rooms in enumerate(rows):
        wide = (WIDTH - GAP * (len(rooms) - 1)) / len(rooms)
        for place, room in enumerate(rooms):
            x, y = place * (wide + GAP), number * (HEIGHT + GAP)
            kind = "room reading" if room in reading else "room"
            parts.append(
                f'<g class="{kind}"><rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{HEIGHT}" rx="4"/>'
                f'<text x="{x + wide / 2:.1f}" y="{y + HEIGHT / 2 + 5}">{escape(room)}</text></g>'
            )
    height = len(rows) * (HEIGHT + GAP) - GAP
    words = "; ".join(", ".join(rooms) for rooms in rows)
    return (
        f'<svg class="rooms" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Rooms, top to bottom: {words}">'
        f"{''.join(parts)}</svg>"
    )
