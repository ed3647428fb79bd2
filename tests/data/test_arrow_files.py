"""Parquet and Arrow files, and the image column of theirs."""

import sys
from pathlib import Path
from typing import Any

import calibration_fixtures
import pytest
import torch
from calibration_inputs import IMAGES, contained, encoded, rows, save_images, save_table, seen_by
from conftest import minilm_directory
from torch import nn

from momos_compress import MomosError
from momos_compress.data import images as calibration_images
from momos_compress.data.draws import open_calibration

work, network, language_model = (
    calibration_fixtures.work,
    calibration_fixtures.network,
    calibration_fixtures.language_model,
)


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_the_image_column_of_a_data_set(kind: str, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[Any] = [{"bytes": encoded(number), "path": f"{number}.png"} for number in range(IMAGES)]
    save_table("set", kind, {"label": list(range(IMAGES)), "image": images})
    expected = seen_by(network, str(save_images("images")))
    calibration = open_calibration("set", network, samples=7, seed=0, held_out=5)
    both = torch.cat([rows(calibration), rows(calibration.held_out)])
    assert contained(both, both) == contained(both, expected) == [1] * IMAGES
    monkeypatch.setattr(calibration_images, "KEPT_BYTES", 0)
    assert torch.equal(rows(open_calibration("set", network, samples=7, seed=0)), rows(calibration))
    images[3], images[8] = None, {"bytes": b"no image", "path": None}
    save_table("holes", kind, {"image": images})
    holes = open_calibration("holes", network, seed=0)
    assert holes.samples == IMAGES - 2
    assert holes.warnings[0] == "2 images of holes could not be read and were skipped"


def test_parquet_without_pyarrow(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MomosError, match=r"need pyarrow; pip install 'momos-compress\[datasets\]'"):
        open_calibration("x.parquet", network, seed=0)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"ARROW1\0\0" + b"\1" * 99])
def test_damaged_tables(name: str, content: bytes, network: nn.Module) -> None:
    pytest.importorskip("pyarrow")
    Path(name).write_bytes(content)
    with pytest.raises(MomosError, match=rf"{name}: not a sound {name[2:]} file"):
        open_calibration(name, network, seed=0)


def test_tables_without_the_column_or_rows(network: nn.Module, language_model: nn.Module) -> None:
    save_table("numbers", "parquet", {"label": [1, 2], "weight": [0.5, 0.5]})
    source = str(minilm_directory())
    with pytest.raises(MomosError, match=r"00002\.parquet has no column of images \(its columns: label, weight\)"):
        open_calibration("numbers", network, seed=0)
    with pytest.raises(MomosError, match=r"00002\.parquet has no column of texts \(its columns: label, weight\)"):
        open_calibration("numbers", language_model, seed=0, source=source)
    save_table("none", "stream", {"image": [], "text": []})
    with pytest.raises(MomosError, match="none: holds no rows"):
        open_calibration("none", network, seed=0)
