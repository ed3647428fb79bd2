"""What is kept out of a calibration to measure on: others than it is fitted to, and few beside them."""

from pathlib import Path

import pytest
import torch

from momos_compress import Settings, open_checkpoint
from momos_compress.calibration.apart import IMAGES_APART, MADE_APART, inputs_with_some_apart
from momos_compress.common.progress import silent
from momos_compress.data.draws import CalibrationData
from momos_compress.networks.load import model_of
from momos_compress.planning.plan import plan


def inputs(calibrate: str, samples: int | None = None) -> CalibrationData:
    checkpoint = open_checkpoint("digits")
    work = plan(checkpoint, Settings(k=8, calibrate=calibrate, samples=samples))
    return inputs_with_some_apart(checkpoint, work, model_of(checkpoint), tell=silent)


def rows(data: CalibrationData) -> set[bytes]:
    return {row.numpy().tobytes() for row in data.read(range(data.samples))}  # type: ignore[union-attr]


def save_digits(directory: Path, count: int, broken: int = 0) -> str:
    from PIL import Image

    directory.mkdir()
    draw = torch.Generator().manual_seed(0)
    for number in range(count):
        pixels = torch.randint(0, 256, (8, 8), generator=draw, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(directory / f"{number}.png")
    for number in range(broken):
        (directory / f"{number}.png").write_bytes(b"no image")
    return str(directory)


def test_what_is_held_out_is_not_calibrated_on(tmp_path: Path) -> None:
    for found, apart in (
        (inputs("digits"), IMAGES_APART),
        (inputs("digits", 20), IMAGES_APART),
        (inputs("synthetic", 40), MADE_APART),
        (inputs("synthetic", 20), 10),
        (inputs(save_digits(tmp_path / "few", 13)), 2),
    ):
        assert found.held_out is not None
        assert found.held_out.samples == apart
        assert len(rows(found.held_out)) == apart
        assert not rows(found.held_out) & rows(found)
    assert found.samples == 11  # all others


@pytest.mark.parametrize(("count", "broken", "samples"), [(1, 0, None), (4, 0, None), (10, 0, 10), (20, 2, 17)])
def test_where_too_few_are_there_none_is_held_out(tmp_path: Path, count: int, broken: int, samples: int | None) -> None:
    found = inputs(save_digits(tmp_path / "few", count, broken), samples)
    assert found.held_out is None
    assert found.samples == (samples or count)
