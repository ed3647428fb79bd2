"""Weights files as sources."""

from pathlib import Path

from momos_compress.container.recipe import FORMAT_NAME
from momos_compress.errors import SourceError
from momos_compress.sources.address import Address
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import attach_architecture, content_revision, file_checkpoint
from momos_compress.sources.registry import Opening, SourceKind
from momos_compress.sources.timm_library import timm_from_tensors
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, TORCH_SUFFIXES, open_file, open_weights


def dense_file(path: Path, arch: str | None) -> Checkpoint:
    """A weights file or an index of shards as a checkpoint.

    Args:
        path: A safetensors file, a file of torch.save, or an index of shards.
        arch: The timm architecture; None takes the one that the file's metadata name, if they do.

    Raises:
        SourceError: No such file, a damaged one, a compressed one, or weights that do not fit the architecture.
    """
    if not path.is_file():
        raise SourceError(f"no file {str(path)!r}")
    if path.suffix == SAFETENSORS_SUFFIX and open_file(path).metadata.get("format") == FORMAT_NAME:
        raise SourceError(
            f"{path}: compressed already; write its dense weights with 'momos-compress export {path}' first"
        )
    tensors, files = open_weights(path)
    checkpoint = file_checkpoint(str(path), tensors, files, {"id": path.name})
    arch = arch or tensors.metadata.get("architecture")
    if arch is None:
        return checkpoint
    return attach_architecture(checkpoint, timm_from_tensors(arch, tensors))


def check_pretrained(address: Address, opening: Opening) -> None:
    """Raise SourceError where random weights are asked of a file, which has weights and nothing else."""
    if not opening.pretrained:
        raise SourceError(f"{address.text} is a weights file; `pretrained=False` goes with a model's name or directory")


class WeightsFile:
    """A safetensors file, a file of torch.save, or an index of shards."""

    suffixes = (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)
    remote = False

    def claims(self, address: Address) -> bool:
        """Whether there is such a file, whatever its ending."""
        return not address.scheme and address.path.is_file()

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """Its tensors, with the architecture that the caller or its metadata name."""
        check_pretrained(address, opening)
        return dense_file(address.path, opening.arch)

    def revision(self, address: Address) -> str | None:
        """The digest of the file."""
        return content_revision([address.path])

    def repository(self, address: Address) -> str | None:
        """None: the file is here."""
        return None


KIND: SourceKind = WeightsFile()
