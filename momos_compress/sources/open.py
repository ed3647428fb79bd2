"""From what the user names to a Checkpoint: timm names, hub ids, directories and files."""

from dataclasses import replace
from pathlib import Path

from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.files import dense_file
from momos_compress.sources.named import NAMED_SOURCES, NamedSource, register_source
from momos_compress.sources.origins import stem
from momos_compress.sources.registry import Opening, parse
from momos_compress.sources.repositories import written_as_path
from momos_compress.sources.unknown import Unknown, unknown_source

__all__ = [
    "NAMED_SOURCES",
    "NamedSource",
    "current_revision",
    "hub_repository",
    "is_unknown_name",
    "needs_hub",
    "open_checkpoint",
    "register_source",
    "unknown_source",
]


def open_checkpoint(
    source: str, *, arch: str | None = None, checkpoint: str | None = None, pretrained: bool = True, seed: int = 0
) -> Checkpoint:
    """The weights that ``source`` names; their tensors are read one at a time, later.

    Args:
        source: A timm name (``resnet50``, ``resnet50.a1_in1k``), ``hf-hub:ID``, ``local-dir:PATH``, a Hugging Face
            model id (``org/name``, ``org/name@revision``), a directory, a weights file, a registered name
            (``digits``), or what a registered kind of source claims.
        arch: timm architecture of a weights file that names none.
        checkpoint: A weights file for the timm architecture ``source``.
        pretrained: False takes seeded random weights; they are never taken otherwise.
        seed: Seed of the random weights.

    Returns:
        The checkpoint: names, shapes and dtypes of its tensors, how to read each, and where they came from.

    Raises:
        SourceError: Nothing of that name, or weights that cannot be reached or read.

    Examples:
        >>> import momos_compress as mc, momos_zoo
        >>> weights = mc.open_checkpoint("digits")
        >>> weights.architecture.name, len(weights.tensors.infos)
        ('digits_resnet8', 44)
    """
    if checkpoint is not None:
        return replace(dense_file(Path(checkpoint), arch or source), name=stem(source))
    return parse(source).open(Opening(arch, pretrained, seed))


def needs_hub(source: str) -> bool:
    """Whether the published weights of ``source`` may have to be downloaded."""
    return parse(source).kind.remote


def hub_repository(source: str) -> str | None:
    """Where the published weights of ``source`` come from; None where they are on this machine.

    A repository's id, or the address of one of timm's older files.
    """
    return parse(source).repository()


def current_revision(source: str) -> str | None:
    """What the weights of ``source`` are at now, found without reading them as a checkpoint; None if unknown.

    A hub's commit, the address of one of timm's older files, or the SHA-256 of a local file or directory's files.
    """
    return parse(source).revision()


def is_unknown_name(source: str) -> bool:
    """Whether ``source`` is a bare word that names nothing: no timm model, no registered source, no path."""
    found = parse(source)
    word = ":" not in source and "/" not in source and not written_as_path(found.address)
    return word and isinstance(found.kind, Unknown)
