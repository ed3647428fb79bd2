"""How a network wants its images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.errors import MomosError, SourceError, one_line
from momos_compress.sources import hub
from momos_compress.sources.address import PREFIXES

PREPROCESSOR = "preprocessor_config.json"
"""The file of transformers that says how images are scaled."""

USUAL_SIDE = 224
"""Pixels of a side where a network of transformers takes any."""


@dataclass(frozen=True)
class ImageForm:
    """Images as a network takes them.

    Attributes:
        shape: (channels, height, width).
        mean: Of each channel in 0..1, or one for all, which a network's scale takes away.
        std: Of each channel, which it divides by.
        argument: The name that a network of transformers takes them under; None for a network of timm.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    argument: str | None = None

    def scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bring pixels (n, channels, height, width) in 0..1 to the network's scale."""
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def batch(self, images: torch.Tensor) -> Inputs:
        """Scaled images as the network is called with them."""
        return images if self.argument is None else {self.argument: images}


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """What timm's ``create_loader`` and ``create_transform`` take to evaluate a network of timm.

    Returns:
        ``input_size`` (channels, height, width), ``interpolation``, ``mean``, ``std`` and ``crop_pct``.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config({}, model=model)
    return {key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")}


def takes_images(model: nn.Module) -> bool:
    """Whether a network is one of timm's, or one of transformers that takes pixels."""
    return hasattr(model, "pretrained_cfg") or getattr(model, "main_input_name", None) == "pixel_values"


def image_form(model: nn.Module, source: str | None = None) -> ImageForm:
    """How a network takes images.

    Args:
        model: One that ``takes_images``.
        source: What it was opened from: for a network of transformers the preprocessor's file lies there. Without one,
            mean and standard deviation are taken to be 0.5.

    Raises:
        MomosError: The file is malformed, or disagrees with itself.
    """
    if hasattr(model, "pretrained_cfg"):
        settings = preprocessing(model)
        return _form(settings["input_size"], settings["mean"], settings["std"], None)
    config: Any = getattr(model, "config", None)
    found = _preprocessor(source)
    size = getattr(config, "image_size", None) or found.get("crop_size") or found.get("size") or USUAL_SIDE
    channels = getattr(config, "num_channels", None) or 3
    shape = (channels, *_sides(size))
    return _form(shape, found.get("image_mean", (0.5,)), found.get("image_std", (0.5,)), "pixel_values")


def _form(shape: Any, mean: Any, std: Any, argument: str | None) -> ImageForm:
    try:
        form = ImageForm(tuple(map(int, shape)), tuple(map(float, mean)), tuple(map(float, std)), argument)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise MomosError(f"the network's image size, mean or std is malformed ({one_line(error, 120)})") from error
    if len(form.shape) != 3 or min(form.shape) < 1 or {len(form.mean), len(form.std)} - {1, form.shape[0]}:
        raise MomosError(
            f"the network takes images {list(form.shape)}, and its mean and std are of {len(form.mean)} and "
            f"{len(form.std)} channels"
        )
    return form


def _sides(size: Any) -> tuple[Any, Any]:
    """Height and width from any of the forms that transformers writes a size in."""
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge", USUAL_SIDE)
        return size.get("height", edge), size.get("width", edge)
    return (size[0], size[1]) if isinstance(size, (list, tuple)) and len(size) == 2 else (size, size)


def _preprocessor(source: str | None) -> Mapping[str, Any]:
    """The content of the preprocessor's file; nothing where there is none."""
    where = (source or "").partition(":")[2] if (source or "").startswith(PREFIXES) else source or ""
    path = Path(where).expanduser()
    try:
        if where and path.exists():
            file: Path | None = (path if path.is_dir() else path.parent) / PREPROCESSOR
        else:
            file = hub.fetch(where, PREPROCESSOR) if where.count("/") == 1 else None
        content = json.loads(file.read_text(encoding="utf-8")) if file is not None and file.is_file() else {}
    except (OSError, ValueError, SourceError):
        return {}
    return content if isinstance(content, dict) else {}
