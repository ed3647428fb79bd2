import gzip
import importlib.metadata
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path

import pytest

from momos_compress import MomosError
from momos_compress.measures.ctm import read_table, table_path


class Evil:
    """Creates a file when it is unpickled by a reader that lets it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_code_in_a_table_is_refused_and_not_run(tmp_path: Path) -> None:
    marker, table = tmp_path / "ran", tmp_path / "table.pkl.gz"
    table.write_bytes(gzip.compress(pickle.dumps({(12,): Evil(marker)})))
    with pytest.raises(MomosError, match=r"not allowed in a CTM table.*reinstall pybdm"):
        read_table(table)
    assert not marker.exists()


def test_the_allowed_containers_are_read(tmp_path: Path) -> None:
    table = tmp_path / "table.pkl.gz"
    content: defaultdict[tuple[int, ...], OrderedDict[str, float]] = defaultdict(OrderedDict)
    content[(2,)]["00"] = 3.5
    table.write_bytes(gzip.compress(pickle.dumps(content)))
    assert read_table(table) == {(2,): {"00": 3.5}}


DAMAGED = {
    "empty": b"",
    "no gzip": b"no gzip",
    "no pickle": gzip.compress(b"no pickle"),
    "a list": gzip.compress(pickle.dumps([1])),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_table_is_told(data: bytes, tmp_path: Path) -> None:
    table = tmp_path / "table.pkl.gz"
    table.write_bytes(data)
    with pytest.raises(MomosError, match="not a CTM table"):
        read_table(table)


def test_without_pybdm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(MomosError, match="pip install pybdm"):
        table_path("ctm-b2-d12")
