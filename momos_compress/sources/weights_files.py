"""Weights files, read lazily: safetensors, sharded checkpoints, and what torch.save wrote."""

import json
import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from momos_compress.errors import FormatError, SourceError, one_line
from momos_compress.tensors.records import TensorInfo, Tensors, from_state_dict
from momos_compress.tensors.safetensors_reader import SafetensorsFile

SAFETENSORS_SUFFIX = ".safetensors"
TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "state_dict_ema", "module", "net")


def open_weights(path: Path) -> tuple[Tensors, tuple[Path, ...]]:
    """Tensors of a weights file or an index of shards, by its name's ending; and the files they lie in."""
    if path.name.endswith(".index.json"):
        return open_sharded(path)
    if path.suffix == SAFETENSORS_SUFFIX:
        return open_safetensors((path,)), (path,)
    if path.suffix in TORCH_SUFFIXES:
        return open_torch(path), (path,)
    suffixes = ", ".join((SAFETENSORS_SUFFIX, *TORCH_SUFFIXES))
    raise SourceError(
        f"{path}: unknown kind of weights file; known are {suffixes} and an index of shards (*.index.json)"
    )


def only_weights(directory: Path) -> Path:
    """The one weights file of a directory, or its first index of shards; SourceError where it has none, or several."""
    found = sorted(path for path in directory.iterdir() if path.suffix in (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES))
    indices = sorted(directory.glob("*.index.json"))
    if len(found) != 1 and not indices:
        what = "no weights file" if not found else f"{len(found)} weights files and no index"
        raise SourceError(f"{directory}: {what}; name the file itself")
    return indices[0] if indices else found[0]


def open_file(path: Path) -> SafetensorsFile:
    """A safetensors file; SourceError where it is damaged."""
    try:
        return SafetensorsFile.open(path)
    except FormatError as error:
        raise SourceError(f"{path}: {one_line(error)}") from error


def open_safetensors(paths: Iterable[Path]) -> Tensors:
    """Tensors of one safetensors file, or of the shards of one checkpoint; nothing is read yet."""
    infos: list[TensorInfo] = []
    home: dict[str, SafetensorsFile] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        file = open_file(path)
        metadata |= file.metadata
        for name, entry in file.entries.items():
            if name in home:
                raise SourceError(f"tensor {name!r} stands in two shards, {home[name].path.name} and {path.name}")
            home[name] = file
            infos.append(TensorInfo(name, entry.shape, entry.torch_dtype))

    def read(name: str) -> torch.Tensor:
        try:
            return home[name].read(name)
        except FormatError as error:
            raise SourceError(f"{home[name].path}: {name}: {error}") from error

    return Tensors(tuple(infos), read, metadata=metadata)


def shard_names(index: Path) -> tuple[str, ...]:
    """The files that an ``*.index.json`` names, each once; SourceError for anything but plain names."""
    try:
        names = tuple(dict.fromkeys(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SourceError(f"{index}: not an index of shards (no 'weight_map' object)") from error
    for name in names:
        if not isinstance(name, str) or not name or name != Path(name).name:
            raise SourceError(f"{index}: names the shard {name!r}, which is no plain file name")
    return names


def open_sharded(index: Path) -> tuple[Tensors, tuple[Path, ...]]:
    """Tensors of a sharded checkpoint, from its ``*.index.json``; also the shards' paths."""
    shards = tuple(index.with_name(name) for name in shard_names(index))
    for shard in shards:
        if not shard.is_file():
            raise SourceError(f"{shard} is named in {index.name} and missing; fetch it or fix the index")
    if not shards:
        raise SourceError(f"{index}: an index without shards")
    if shards[0].suffix == SAFETENSORS_SUFFIX:
        return open_safetensors(shards), shards
    parts = [open_torch(shard) for shard in shards]
    infos = tuple(info for part in parts for info in part.infos)
    home = {info.name: part for part in parts for info in part.infos}
    return Tensors(infos, lambda name: home[name].read(name)), shards


def open_torch(path: Path) -> Tensors:
    """Tensors of a file that ``torch.save`` wrote; read through a memory map where its format allows that.

    Only ``weights_only=True``: a file that needs unpickling of code is refused.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a file's age and protocol is said by the error
            try:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # torch's format before 1.6 cannot be mapped
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path}: refused, reading it would run code ({one_line(error, 120)}); where you trust the file, load it "
            "yourself and save its state_dict() with safetensors.torch.save_file"
        ) from error
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        raise SourceError(f"{path}: not a sound torch file ({one_line(error)})") from error
    try:
        return from_state_dict(_unwrap(content, path))
    except SourceError as error:
        raise SourceError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _unwrap(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Undo wrappers around a state dict and the ``module.`` prefix of DataParallel."""
    while isinstance(content, dict):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
        if any(isinstance(value, torch.Tensor) for value in content.values()) or not inner:
            break
        content = inner[0]
    if not isinstance(content, dict):
        raise SourceError(f"{path}: holds a {type(content).__name__}, not a state dict of named tensors")
    state = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise SourceError(f"{path}: holds no tensors")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state
