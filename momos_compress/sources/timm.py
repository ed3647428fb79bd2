"""timm's models: names with and without tag, exported directories, and architectures for bare weights files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from momos_compress.errors import MomosError, SourceError, one_line
from momos_compress.sources import hub
from momos_compress.sources.architecture import Architecture, timm_architecture
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import attach_architecture, file_checkpoint, from_model
from momos_compress.sources.untrusted import check_timm_name
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, open_weights
from momos_compress.tensors.records import Tensors

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


def from_timm_name(name: str, *, pretrained: bool, seed: int) -> Checkpoint:
    """The published weights of a timm name, from timm's cache or the hub; random ones only without ``pretrained``."""
    check_timm_name(name.partition(".")[0])
    config = _published(name)
    if not pretrained:
        return random_checkpoint(name, timm_architecture(_skeleton(name)), seed)
    if config is None or not config.has_weights:
        raise SourceError(
            f"timm publishes no weights for {name!r}; pass a file with --checkpoint FILE, or take random ones with "
            "--no-pretrained"
        )
    if config.hf_hub_id:
        path = hub.fetch_first(config.hf_hub_id, weight_candidates(config.hf_hub_filename))
        revision = hub.commit_of(path)
    else:
        path, revision = _download(config.url), None
    origin = {"id": config.hf_hub_id or config.url, "revision": revision}
    straight = _straight_from_file(name, path, origin)
    if straight is not None:
        return straight
    model = build_timm(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    return from_model(name, model, (path,), origin)


def _straight_from_file(name: str, path: Path, origin: Mapping[str, Any]) -> Checkpoint | None:
    """The file's own tensors, read lazily, where they are the network's by name, shape and dtype; None elsewhere.

    Other files have to go through timm, which knows how to rename, resize and convert what they hold.
    """
    try:
        tensors, files = open_weights(path)
    except MomosError:
        return None
    skeleton = _skeleton(name)
    wanted = {key: (tuple(value.shape), value.dtype) for key, value in skeleton.state_dict().items()}
    if {info.name: (info.shape, info.dtype) for info in tensors.infos} != wanted:
        return None
    return attach_architecture(file_checkpoint(name, tensors, files, origin), timm_architecture(skeleton))


def _skeleton(name: str) -> nn.Module:
    """The network of a timm name without storage, where it can be built without; no weights are drawn then."""
    try:
        with torch.device("meta"):
            return build_timm(name, pretrained=False)
    except SourceError:  # some networks compute with real numbers while they are built
        return build_timm(name, pretrained=False)


def timm_revision(name: str) -> str | None:
    """What the published weights of a timm name are at now: the hub's commit, or the address of an older file."""
    config = _published(name)
    if config is None:
        return None
    return hub.latest_commit(config.hf_hub_id) if config.hf_hub_id else config.url


def timm_repository(name: str) -> str | None:
    """Where the published weights of a timm name lie: the hub's repository, or the address of an older file."""
    config = _published(name)
    return None if config is None else config.hf_hub_id or config.url or None


def _published(name: str) -> "PretrainedCfg | None":
    """timm's record of the weights of a name; None where it has none."""
    import timm

    return timm.get_pretrained_cfg(name, allow_unregistered=False) if _has_tag(name) else None


def timm_family(name: str) -> str:
    """The module of timm that a registered architecture comes from: "resnet", "vision_transformer"."""
    import timm

    return str(timm.models.model_entrypoint(name.partition(".")[0]).__module__).rpartition(".")[2]


def _has_tag(name: str) -> bool:
    """Whether timm knows the name as it stands; a wrong tag is told with the right ones."""
    import timm

    architecture, _, tag = name.partition(".")
    known = set(timm.list_pretrained(f"{architecture}.*"))
    if tag and name not in known and tag not in timm.models.get_arch_pretrained_cfgs(architecture):
        tags = ", ".join(sorted(known)) or "none"
        raise SourceError(f"{architecture} has no weights tagged {tag!r}; choose from {tags}")
    return True


def weight_candidates(filename: str | None) -> tuple[str, ...]:
    """Weight files in the order timm prefers them: the safetensors twin of a pickle first."""
    filename = filename or "pytorch_model.bin"
    if filename == "pytorch_model.bin":
        return ("model.safetensors", filename)
    if filename.endswith(".bin"):
        return (filename.removesuffix(".bin") + SAFETENSORS_SUFFIX, "open_clip_model.safetensors", filename)
    return (filename,)


def _download(url: str) -> Path:
    from timm.models import _hub

    try:
        return Path(_hub.download_cached_file(url, cache_dir=hub.cache_directory()))
    except OSError as error:
        raise SourceError(f"{url} cannot be fetched ({error}); pass a file with --checkpoint FILE") from error


def build_timm(name: str, **arguments: Any) -> nn.Module:
    """timm's create_model in eval mode; its errors become one line."""
    import timm

    try:
        with torch.random.fork_rng(devices=[]):
            model: nn.Module = timm.create_model(name, **arguments)
    except Exception as error:  # timm raises what a strange config.json leads it to
        raise SourceError(f"timm cannot build {name}: {one_line(error)}") from error
    return model.eval()


def random_checkpoint(source: str, architecture: Architecture, seed: int) -> Checkpoint:
    """Random weights, said so in the provenance."""
    checkpoint = from_model(source, architecture.build(seed=seed), (), {"id": architecture.name, "seed": seed})
    provenance = {**checkpoint.provenance, "pretrained": False}
    return replace(checkpoint, architecture=architecture, provenance=provenance)


def from_timm_directory(source: str, directory: Path, weights: Path | None, origin: Mapping[str, Any]) -> Checkpoint:
    """A directory that timm exported: config.json with an architecture, and weights."""
    model = build_timm(f"local-dir:{directory}", pretrained=True)
    arguments = hub.read_config(directory / "config.json").get("model_args")
    return from_model(source, model, (weights,) if weights else (), origin, arguments)


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
