"""From what the user names to a Checkpoint: timm names, hub ids, directories and files."""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from momos_compress.container.recipe import FORMAT_NAME
from momos_compress.errors import SourceError
from momos_compress.sources import hub
from momos_compress.sources.architecture import Architecture, timm_architecture
from momos_compress.sources.checkpoint import Checkpoint, describe_files
from momos_compress.sources.origins import PREFIXES, attach_architecture, file_checkpoint, stem
from momos_compress.sources.timm import (
    build_timm,
    from_timm_directory,
    from_timm_name,
    random_checkpoint,
    timm_from_tensors,
    timm_repository,
    timm_revision,
    weight_candidates,
)
from momos_compress.sources.transformers import from_transformers, transformers_architecture
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, TORCH_SUFFIXES, open_file, open_weights


@dataclass(frozen=True)
class NamedSource:
    """A checkpoint with a name of its own, such as the demo: its file, and the data sets to test and to train it on."""

    path: Callable[[], Path]
    data: str | None = None
    train: str | None = None


NAMED_SOURCES: dict[str, NamedSource] = {}


def register_source(name: str, source: NamedSource) -> None:
    """Make ``name`` a source; a name that is taken raises."""
    if name in NAMED_SOURCES:
        raise ValueError(f"source {name!r} is registered already")
    NAMED_SOURCES[name] = source


def open_checkpoint(
    source: str, *, arch: str | None = None, checkpoint: str | None = None, pretrained: bool = True, seed: int = 0
) -> Checkpoint:
    """The weights that ``source`` names.

    source: a timm name (``resnet50``, ``resnet50.a1_in1k``), ``hf-hub:ID``, ``local-dir:PATH``, a Hugging Face model id
    (``org/name``, ``org/name@revision``), a directory, a weights file, or a registered name (``digits``).
    arch: timm architecture of a bare weights file. checkpoint: a weights file for the timm architecture ``source``.
    pretrained: False takes random weights, seeded; they are never taken otherwise.
    """
    if checkpoint is not None:
        return replace(_from_file(Path(checkpoint), arch or source), name=stem(source))
    if source in NAMED_SOURCES:
        named = _from_file(NAMED_SOURCES[source].path(), arch)
        return replace(named, source=source, name=source, provenance={**named.provenance, "source": source})
    path = Path(source).expanduser()
    if source.startswith(PREFIXES):
        return _from_prefixed(source, pretrained=pretrained, seed=seed)
    if path.is_dir():
        return _from_directory(path, arch, pretrained=pretrained, seed=seed)
    if path.is_file():
        if not pretrained:
            raise SourceError(f"{source} is a weights file; --no-pretrained goes with a model's name or directory")
        return _from_file(path, arch)
    if _is_timm_name(source):
        return from_timm_name(source, pretrained=pretrained, seed=seed)
    if path.suffix in (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES) or source.startswith((".", "/", "~")):
        raise SourceError(f"no file or directory {source!r}")
    if source.count("/") == 1:
        return _from_hub(source, pretrained=pretrained, seed=seed)
    raise SourceError(unknown_source(source))


def needs_hub(source: str) -> bool:
    """Whether the published weights of ``source`` come from the hub: it is no file, directory or registered name."""
    where = source.partition(":")[2] if source.startswith("local-dir:") else source
    return source not in NAMED_SOURCES and not Path(where).expanduser().exists()


def hub_repository(source: str) -> str | None:
    """Where the published weights of ``source`` come from: a repository's id, or an older timm file's address.

    None where they are on this machine.
    """
    if not needs_hub(source):
        return None
    if not source.startswith(PREFIXES) and _is_timm_name(source):
        return timm_repository(source)
    where = source.partition(":")[2] if source.startswith(PREFIXES) else source
    return hub.split_revision(where)[0]


def current_revision(source: str) -> str | None:
    """What the weights of ``source`` are at now, found without reading them as a checkpoint; None where nobody says.

    A hub's commit, the address of one of timm's older files, or the SHA-256 of a local file or directory's files.
    """
    if source in NAMED_SOURCES:
        return _digest([NAMED_SOURCES[source].path()])
    scheme, _, where = source.partition(":")
    path = Path(where if scheme == "local-dir" else source).expanduser()
    if path.is_file():
        return _digest([path])
    if path.is_dir():
        return _digest(sorted(p for p in path.iterdir() if p.suffix in (".json", SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)))
    if source.startswith(PREFIXES):
        return hub.latest_commit(where)
    if _is_timm_name(source):
        return timm_revision(source)
    return hub.latest_commit(source) if source.count("/") == 1 else None


def _digest(paths: list[Path]) -> str:
    files = [(record["name"], record["sha256"]) for record in describe_files(paths)]
    return "sha256:" + (files[0][1] if len(files) == 1 else hashlib.sha256(repr(files).encode()).hexdigest())


def is_unknown_name(source: str) -> bool:
    """Whether ``source`` is a bare word that names nothing: no timm model, no registered source, no path."""
    if source in NAMED_SOURCES or ":" in source or "/" in source or Path(source).exists() or _is_timm_name(source):
        return False
    return Path(source).suffix not in (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)


def unknown_source(source: str, commands: Iterable[str] = ()) -> str:
    """One line for a name that is nothing we know, with close names of models and of ``commands``."""
    import timm

    names = [*timm.list_models(), *NAMED_SOURCES]
    models = difflib.get_close_matches(source, names, n=3)
    close = difflib.get_close_matches(source, list(commands), n=2)
    hints = [f"close {kind}: {', '.join(found)}" for kind, found in (("commands", close), ("models", models)) if found]
    hints.append("a Hugging Face model is named with its owner, as in org/name")
    return f"{source!r} is no timm model, file or directory; {'; '.join(hints)}"


def _is_timm_name(name: str) -> bool:
    import timm

    return "/" not in name and bool(timm.is_model(name.partition(".")[0]))


def _from_prefixed(source: str, *, pretrained: bool, seed: int) -> Checkpoint:
    scheme, _, where = source.partition(":")
    if not where:
        raise SourceError(f"{source!r} names no model; write {scheme}:{'ORG/NAME' if 'hub' in scheme else 'PATH'}")
    if scheme == "local-dir":
        directory = Path(where).expanduser()
        if not directory.is_dir():
            raise SourceError(f"no directory {where!r}")
        return replace(_from_directory(directory, None, pretrained=pretrained, seed=seed), source=source)
    return _from_hub(where, pretrained=pretrained, seed=seed, source=source)


def _from_hub(repo: str, *, pretrained: bool, seed: int, source: str | None = None) -> Checkpoint:
    """A hub repository: timm's if its config.json names an architecture, else one of transformers."""
    config_path, config = hub.fetch_config(repo)
    source = source or repo
    commit = hub.commit_of(config_path)
    origin = {"id": repo, "revision": commit}
    if commit is not None:
        repo = f"{hub.split_revision(repo)[0]}@{commit}"  # the branch may move before the weights are fetched
    if not pretrained:
        return random_checkpoint(source, _architecture_of(config, config_path.parent), seed)
    if "model_type" in config:
        return from_transformers(source, hub.fetch_first(repo, hub.TRANSFORMERS_WEIGHTS), config, origin, repo=repo)
    path = hub.fetch_first(repo, weight_candidates(None))
    return from_timm_directory(source, path.parent, path, origin)


def _architecture_of(config: Mapping[str, Any], directory: Path) -> Architecture:
    """The network that a config.json in ``directory`` names, with the library's random weights."""
    if "model_type" in config:
        return transformers_architecture(config, str(directory))
    return timm_architecture(build_timm(f"local-dir:{directory}", pretrained=False), config.get("model_args"))


def _from_directory(directory: Path, arch: str | None, *, pretrained: bool, seed: int) -> Checkpoint:
    config_path = directory / "config.json"
    config = hub.read_config(config_path) if config_path.is_file() else {}
    if not pretrained:
        if not config:
            raise SourceError(f"{directory} has no config.json, so --no-pretrained knows no architecture to fill")
        return random_checkpoint(str(directory), _architecture_of(config, directory), seed)
    weights = next((directory / name for name in hub.TRANSFORMERS_WEIGHTS if (directory / name).is_file()), None)
    if "architecture" in config:
        return from_timm_directory(str(directory), directory, weights, {"id": str(config["architecture"])})
    if weights is None:
        found = sorted(p for p in directory.iterdir() if p.suffix in (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES))
        indices = sorted(directory.glob("*.index.json"))
        if len(found) != 1 and not indices:
            what = "no weights file" if not found else f"{len(found)} weights files and no index"
            raise SourceError(f"{directory}: {what}; name the file itself")
        weights = indices[0] if indices else found[0]
    if "model_type" in config:
        return from_transformers(str(directory), weights, config, {"id": directory.name})
    return replace(_from_file(weights, arch), source=str(directory), name=stem(str(directory.resolve())))


def _from_file(path: Path, arch: str | None) -> Checkpoint:
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
