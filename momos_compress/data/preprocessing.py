"""How a network wants its images."""

from typing import Any

from torch import nn


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """What timm's ``create_loader`` and ``create_transform`` take to evaluate a network of timm.

    Returns:
        ``input_size`` (channels, height, width), ``interpolation``, ``mean``, ``std`` and ``crop_pct``.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config({}, model=model)
    return {key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")}
