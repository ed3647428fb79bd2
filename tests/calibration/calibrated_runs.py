"""Whole runs on small networks, and whether their files hold what the report says."""

from pathlib import Path

import numpy as np
import pytest
from conftest import memory_checkpoint
from PIL import Image
from torch import nn

from momos_compress import MomosFile, Report, Settings, compress
from momos_compress.sources.architecture import timm_architecture
from momos_compress.sources.checkpoint import Checkpoint


def run(checkpoint: Checkpoint, path: Path | str = "x.momos.safetensors", **settings: object) -> Report:
    return compress(checkpoint, Settings(bdm=False, device="cpu", **settings), path)  # type: ignore[arg-type]


def check_measured(checkpoint: Checkpoint, report: Report) -> MomosFile:
    """The file decodes to weights as far from the checkpoint's as the report says."""
    file = MomosFile(report.output)
    error = energy = 0.0
    for name in file.recipe.tensors:
        weight = checkpoint.read(name).double()
        assert file.get(name).dtype == checkpoint.read(name).dtype
        error += float((file.get(name).double() - weight).square().sum())
        energy += float(weight.square().sum())
    assert report.relative_distortion == pytest.approx(error / energy, rel=1e-6)
    assert report.file_bytes == Path(report.output).stat().st_size
    return file


def network_checkpoint(model: nn.Module, **fields: object) -> Checkpoint:
    """A timm network with its weights in memory."""
    state = model.state_dict()
    return memory_checkpoint(
        state,
        architecture=timm_architecture(model, {"num_classes": model.num_classes}),
        parameters=tuple(name for name, _ in model.named_parameters()),
        buffers=frozenset(name for name, _ in model.named_buffers()),
        **fields,
    )


def save_pictures(directory: str = "images", count: int = 8) -> str:
    Path(directory).mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(Path(directory, f"{number}.png"))
    return directory
