"""timm as a library: directories that it exported, and architectures for bare weights files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.errors import SourceError, one_line
from momos_compress.sources.architecture import Architecture, timm_architecture
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import from_model
from momos_compress.sources.registry import Library
from momos_compress.sources.untrusted import check_timm_name
from momos_compress.tensors.records import Tensors


def build_timm(name: str, **arguments: Any) -> nn.Module:
    """Build a network with timm's create_model, in eval mode; its errors become one line."""
    import timm

    try:
        with torch.random.fork_rng(devices=[]):
            model: nn.Module = timm.create_model(name, **arguments)
    except Exception as error:  # timm raises what a strange config.json leads it to
        raise SourceError(f"timm cannot build {name}: {one_line(error)}") from error
    return model.eval()


class Timm:
    """Directories and repositories whose config.json names a timm architecture."""

    weights_names = ("model.safetensors", "pytorch_model.bin")

    def owns(self, config: Mapping[str, Any]) -> bool:
        """Whether an architecture is named; with a model type beside it, transformers wrapped the network."""
        return "architecture" in config and "model_type" not in config

    def architecture(self, config: Mapping[str, Any], directory: Path) -> Architecture:
        """The network as timm builds it from the directory, without its weights."""
        return timm_architecture(build_timm(f"local-dir:{directory}", pretrained=False), config.get("model_args"))

    def open_directory(
        self, source: str, directory: Path, weights: Path | None, config: Mapping[str, Any], origin: Mapping[str, Any]
    ) -> Checkpoint:
        """The network as timm loads it, which may rename and convert what the file holds."""
        model = build_timm(f"local-dir:{directory}", pretrained=True)
        return from_model(source, model, (weights,) if weights else (), origin, config.get("model_args"))


LIBRARY: Library = Timm()


def timm_from_tensors(arch: str, tensors: Tensors) -> Architecture:
    """The timm architecture ``arch`` with the class count and input channels that the weights have.

    mean, std, input_size and crop_pct are taken from the file's safetensors metadata where it has them.
    """
    arch = arch.partition(".")[0]
    check_timm_name(arch)
    preprocessing = _preprocessing(tensors.metadata)
    base = timm_architecture(Architecture("timm", arch, {}, preprocessing).skeleton())
    shapes = {info.name: info.shape for info in tensors.infos}
    arguments: dict[str, Any] = {}
    classifier, first_conv = base.preprocessing.get("classifier"), base.preprocessing.get("first_conv")
    head = shapes.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    settings = dict(base.preprocessing)
    if head and head[0] != settings.get("num_classes"):
        arguments["num_classes"] = settings["num_classes"] = head[0]
    stem = shapes.get(f"{first_conv}.weight") if isinstance(first_conv, str) else None
    in_chans = settings.get("input_size", (3,))[0]
    if stem and len(stem) == 4 and stem[1] != in_chans:
        arguments["in_chans"] = stem[1]
        settings["input_size"] = (stem[1], *settings["input_size"][1:])
    return Architecture("timm", arch, arguments, settings)


def _preprocessing(metadata: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    try:
        for key in ("mean", "std"):
            if key in metadata:
                out[key] = tuple(float(part) for part in metadata[key].split(","))
        if "input_size" in metadata:
            out["input_size"] = tuple(int(part) for part in metadata["input_size"].split(","))
        if "crop_pct" in metadata:
            out["crop_pct"] = float(metadata["crop_pct"])
    except ValueError as error:
        raise SourceError(f"the file's metadata for preprocessing are malformed: {error}") from error
    return out
