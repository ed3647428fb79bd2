"""timm's names, with and without tag, as sources: their published weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from momos_compress.errors import MomosError, SourceError
from momos_compress.sources import hub
from momos_compress.sources.address import Address
from momos_compress.sources.architecture import timm_architecture
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import attach_architecture, file_checkpoint, from_model, random_checkpoint
from momos_compress.sources.registry import Opening, SourceKind
from momos_compress.sources.timm_library import build_timm
from momos_compress.sources.untrusted import check_timm_name
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, open_weights

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


class TimmName:
    """A timm architecture, with or without the tag of its weights."""

    suffixes = ()
    remote = True

    def claims(self, address: Address) -> bool:
        """Whether timm has the architecture, whatever the tag."""
        import timm

        if address.scheme or "/" in address.where:
            return False
        return bool(timm.is_model(address.where.partition(".")[0]))

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """The published weights, or random ones where that is asked."""
        return from_timm_name(address.where, pretrained=opening.pretrained, seed=opening.seed)

    def revision(self, address: Address) -> str | None:
        """The hub's commit, or the address of one of timm's older files."""
        config = _published(address.where)
        if config is None:
            return None
        return hub.latest_commit(config.hf_hub_id) if config.hf_hub_id else config.url

    def repository(self, address: Address) -> str | None:
        """The hub's repository, or the address of one of timm's older files."""
        config = _published(address.where)
        return None if config is None else config.hf_hub_id or config.url or None


def from_timm_name(name: str, *, pretrained: bool, seed: int) -> Checkpoint:
    """The published weights of a timm name, from timm's cache or the hub; random ones only without ``pretrained``."""
    check_timm_name(name.partition(".")[0])
    config = _published(name)
    if not pretrained:
        return random_checkpoint(name, timm_architecture(_skeleton(name)), seed)
    if config is None or not config.has_weights:
        raise SourceError(
            f"timm publishes no weights for {name!r}; pass a file with `checkpoint='FILE'`, or take random ones with "
            "`pretrained=False`"
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


def _published(name: str) -> "PretrainedCfg | None":
    """The record that timm has of the weights of a name; None where it has none."""
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
        raise SourceError(f"{url} cannot be fetched ({error}); pass a file with `checkpoint='FILE'`") from error


KIND: SourceKind = TimmName()
