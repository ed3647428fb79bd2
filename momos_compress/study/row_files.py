"""The files of rows: one for each model, written whole, and damaged ones told by their path."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from momos_compress.common.atomic import atomic_writer
from momos_compress.errors import MomosError, one_line
from momos_compress.measures.registry import FIRST_MEASURES, chosen_measures
from momos_compress.study.rows import Row
from momos_compress.study.settings import StudySettings


def recorded(settings: StudySettings) -> dict[str, Any]:
    """The settings that figures depend on.

    The device is none of them, as every device gives the same figures. Measures beside the first four are told where
    there are any, so that rows from before there were others still hold.
    """
    record = dataclasses.asdict(settings)
    del record["device"], record["measures"]["also"]
    if also := [name for name in chosen_measures(settings.measures.also) if name not in FIRST_MEASURES]:
        record["measures"]["also"] = also
    return record


def fingerprint(model: str, revision: str | None, settings: Mapping[str, Any], version: str) -> str:
    """Digest of all that a row's figures depend on; a row with another one is measured again."""
    record = json.dumps([model, revision, settings, version], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()


def row_path(directory: Path, model: str) -> Path:
    """Where the row of a model lies in a results directory: a readable name, made unique by a digest."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in model.rstrip("/").split("/")[-1])[:80]
    digest = hashlib.sha256(model.encode(errors="surrogatepass")).hexdigest()[:8]
    return directory / "rows" / f"{stem.lstrip('.')}.{digest}.json"


def write_row(directory: Path, row: Row) -> None:
    """Write a row's file, whole or not at all."""
    path = row_path(directory, row.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        file.write(json.dumps(_finite(row.to_json()), allow_nan=False).encode())


def _finite(value: Any) -> Any:
    """Write a number that JSON does not have, such as a norm that overflowed, as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def read_row(path: Path) -> Row:
    """Read a row's file; MomosError where it is damaged."""
    try:
        return Row.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MomosError(f"{path}: not a row of a study ({one_line(error, 120)}); delete it and run again") from error


def read_rows(directory: Path) -> list[Row]:
    """Read all rows of a results directory, sorted by model; MomosError where it holds none."""
    paths = sorted((directory / "rows").glob("*.json"))
    if not paths:
        raise MomosError(f"{directory}: no rows of a study; run 'momos-compress study -o {directory}' first")
    return sorted((read_row(path) for path in paths), key=lambda row: row.model)
