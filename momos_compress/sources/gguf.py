"""GGUF files as sources: llama.cpp's format, most often quantised, read one dequantised tensor at a time.

The package gguf reads the header and dequantises. Names, shapes and the network are those that transformers gives them
(``transformers.modeling_gguf_pytorch_utils``), so that what is written later loads into transformers' own class. The
tokenizer inside the file is not read: weights are compressed without it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from momos_compress.errors import MomosError, SourceError, one_line
from momos_compress.sources.address import DIRECTORY_SCHEME, Address
from momos_compress.sources.architecture import Architecture, load_transformers, quiet_transformers
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.files import check_pretrained
from momos_compress.sources.origins import content_revision, file_checkpoint, name_parameters
from momos_compress.sources.registry import Opening, SourceKind, weights_suffixes
from momos_compress.sources.transformers import transformers_architecture
from momos_compress.tensors.records import TensorInfo, Tensors

SUFFIX = ".gguf"
ARCHITECTURES = ("llama", "qwen2")
"""Architectures whose tensors transformers maps one to one, so that each can be read on its own."""

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types that are not quantised, and what they are read as; all others are read as float32."""


@dataclass(frozen=True)
class Entry:
    """One tensor of the file.

    Attributes:
        type: The gguf package's GGMLQuantizationType.
        shape: Its shape as torch has it, the row length last.
        stored_shape: The shape of its bytes: the same, the last size in bytes.
        offset: Where its bytes begin in the file.
    """

    type: Any
    shape: tuple[int, ...]
    stored_shape: tuple[int, ...]
    offset: int

    @property
    def dtype(self) -> torch.dtype:
        """What it is read as."""
        return PLAIN.get(self.type.name, torch.float32)


@dataclass(frozen=True)
class Header:
    """What a file says of itself: its architecture, and its tensors by their GGUF names."""

    architecture: str
    entries: Mapping[str, Entry]


class Gguf:
    """A GGUF file, or a directory with one such file and no other weights."""

    suffixes = (SUFFIX,)
    remote = False

    def claims(self, address: Address) -> bool:
        """Whether there is such a file or directory."""
        return bool(_files(address))

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """Its tensors under transformers' names, and the network that its metadata describe."""
        path, *others = _files(address)
        if others:
            raise SourceError(f"{address.where}: {1 + len(others)} GGUF files; name the file itself")
        check_pretrained(address, opening)
        if opening.arch is not None:
            raise SourceError(f"{path}: a GGUF file names its architecture itself; leave out `arch`")
        return open_gguf(address.text, path)

    def revision(self, address: Address) -> str | None:
        """The digest of the file."""
        return content_revision(_files(address))

    def repository(self, address: Address) -> str | None:
        """None: the file is here."""
        return None


def open_gguf(source: str, path: Path) -> Checkpoint:
    """The tensors of a GGUF file that transformers knows, with their network.

    Args:
        source: What the user named.
        path: The file.

    Raises:
        SourceError: The file is damaged, its architecture or a tensor's type cannot be read, or the package gguf is
            missing.
    """
    header = read_header(path)
    if header.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise SourceError(
            f"{path}: GGUF files of the architecture {header.architecture!r} cannot be read; known: {known}"
        )
    network, processor, names = _as_transformers_has_it(path, header.architecture)
    homes = {names[name]: name for name in header.entries if name in names}
    for name in homes.values():
        _check_type(path, name, header.entries[name])
    infos = tuple(
        TensorInfo(name, header.entries[home].shape, header.entries[home].dtype) for name, home in homes.items()
    )

    def read(name: str) -> torch.Tensor:
        entry = header.entries[homes[name]]
        values = processor.process(weights=_dequantised(path, homes[name], entry), name=homes[name]).weights
        return torch.from_numpy(np.ascontiguousarray(values)).to(entry.dtype)

    types = Counter(header.entries[home].type.name for home in homes.values())
    quantised = any(name not in PLAIN for name in types)
    origin = {"id": path.name, "format": "gguf", "quantised": quantised, "types": dict(types)}
    checkpoint = replace(file_checkpoint(source, Tensors(infos, read), (path,), origin), architecture=network)
    for warning in _warnings(types, [name for name in header.entries if name not in names]):
        checkpoint = checkpoint.with_warning(warning)
    return name_parameters(checkpoint, network.skeleton())


def read_header(path: Path) -> Header:
    """The header of a GGUF file; no tensor is read. SourceError where it is damaged or cut short."""
    try:
        import gguf
    except ImportError as error:
        raise SourceError(f"{path}: GGUF files need the package gguf; pip install 'momos-compress[gguf]'") from error

    class Reader(gguf.GGUFReader):
        """The package's reader, but for what lies beyond the end: an error there, where it would go on and on."""

        def _get(self, offset: int, dtype: Any, count: int = 1, *rest: Any, **named: Any) -> Any:
            if int(offset) + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("it ends early")
            return super()._get(offset, dtype, count, *rest, **named)

    try:
        reader = Reader(path)
        architecture = reader.fields["general.architecture"].contents()
        parts = int(reader.fields["split.count"].contents()) if "split.count" in reader.fields else 1
        entries = {}
        for tensor in reader.tensors:
            shape = tuple(int(size) for size in reversed(tensor.shape))
            stored = tuple(gguf.quant_shape_to_byte_shape(shape, tensor.tensor_type))
            entries[tensor.name] = Entry(tensor.tensor_type, shape, stored, int(tensor.data_offset))
    except MomosError:
        raise
    except Exception as error:  # the package raises whatever a damaged file leads it to
        raise SourceError(f"{path}: not a sound GGUF file ({one_line(error) or type(error).__name__})") from error
    if parts > 1:
        raise SourceError(f"{path}: one of {parts} parts of a model; merge them first, with llama.cpp's gguf-split")
    return Header(str(architecture), entries)


def _files(address: Address) -> list[Path]:
    """The GGUF files that an address means: itself, or all of a directory with no other weights and no config.json."""
    path = address.path
    if path.suffix == SUFFIX and not address.scheme and path.is_file():
        return [path]
    if address.scheme not in ("", DIRECTORY_SCHEME) or not path.is_dir() or (path / "config.json").exists():
        return []
    weights = sorted(file for file in path.iterdir() if file.suffix in weights_suffixes())
    return weights if all(file.suffix == SUFFIX for file in weights) else []


def _as_transformers_has_it(path: Path, architecture: str) -> tuple[Architecture, Any, dict[str, str]]:
    """The network; what undoes llama.cpp's rearrangement of a tensor; and names: GGUF's -> transformers'."""
    version = load_transformers().__version__
    try:
        from transformers import modeling_gguf_pytorch_utils as reading
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

        with quiet_transformers():
            config = reading.load_gguf_checkpoint(str(path))["config"]
            config["architectures"] = [CLASSES[config["model_type"]]]
            network = transformers_architecture(config, str(path))
            processor = reading.TENSOR_PROCESSORS.get(architecture, reading.TensorProcessor)(config=config)
            return network, processor, reading.get_gguf_hf_weights_map(network.skeleton(), processor)
    except MomosError:
        raise
    except Exception as error:  # transformers raises whatever strange metadata lead it to
        told = one_line(error) or type(error).__name__
        raise SourceError(f"{path}: transformers {version} cannot make a network of its metadata ({told})") from error


def _check_type(path: Path, name: str, entry: Entry) -> None:
    """SourceError unless the package gguf can dequantise the tensor; tried on a block of zeros."""
    import gguf

    _, block_bytes = gguf.GGML_QUANT_SIZES[entry.type]
    try:
        gguf.dequantize(np.zeros((1, block_bytes), np.uint8), entry.type)
    except NotImplementedError as error:
        raise SourceError(
            f"{path}: {name} {list(entry.shape)} is stored as {entry.type.name}, which gguf cannot dequantise"
        ) from error


def _dequantised(path: Path, name: str, entry: Entry) -> np.ndarray[Any, Any]:
    """The values of one tensor, float32, as llama.cpp arranges them."""
    import gguf

    data = bytearray(int(np.prod(entry.stored_shape)))
    try:
        with path.open("rb") as file:
            file.seek(entry.offset)
            count = file.readinto(data)
    except OSError as error:
        raise SourceError(f"{path}: {name} cannot be read any more ({one_line(error)})") from error
    if count != len(data):
        raise SourceError(f"{path}: {name} cannot be read any more: the file has become shorter")
    stored = np.frombuffer(data, np.uint8).reshape(entry.stored_shape)
    values: np.ndarray[Any, Any] = gguf.dequantize(stored, entry.type)
    return values


def _warnings(types: Mapping[str, int], left: list[str]) -> list[str]:
    found = []
    if any(name not in PLAIN for name in types):
        told = ", ".join(f"{name} in {count}" for name, count in sorted(types.items()))
        found.append(
            f"the source is quantised (tensors: {told}): its rounding counts as the network's own, and ratios refer to "
            "the bytes of that file"
        )
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        found.append(f"transformers has no place for {one_line(left[0], 80)}{more}; left out")
    return found


KIND: SourceKind = Gguf()
