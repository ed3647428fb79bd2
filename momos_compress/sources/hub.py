"""Files from the Hugging Face hub, through its own client and cache. Every failure is one line with a way out."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from momos_compress.errors import SourceError, one_line

TRANSFORMERS_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


REACH_SECONDS = 10
_cache: list[Path] = []
_unreachable: list[bool] = []


def use_cache(directory: Path) -> None:
    """From now on, this process downloads into ``directory`` instead of the hub client's own cache."""
    _cache[:] = [directory]


def cache_directory() -> Path | None:
    """The directory that ``use_cache`` named; None for the client's own cache."""
    return _cache[0] if _cache else None


def reachable() -> bool:
    """Whether the hub answers at all; asked once and briefly, where the client would try again for half a minute."""
    from huggingface_hub import constants, errors, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except (errors.HTTPError, OSError):  # type: ignore[attr-defined]
        return False
    return True


def take_as_unreachable() -> None:
    """From now on, this process takes what is in the cache and asks nothing: ``reachable`` has said no."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        constants.HF_HUB_OFFLINE = True
        _unreachable.append(True)


def split_revision(repo: str) -> tuple[str, str | None]:
    """Take "org/name@revision" apart into "org/name" and "revision", None where there is no "@"."""
    name, _, revision = repo.partition("@")
    return name, revision or None


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """The client logs every retry; a failure is told once, by us."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def fetch(repo: str, filename: str) -> Path | None:
    """Path in the cache of one file of ``repo`` ("org/name", "org/name@revision"); None where the repo lacks it."""
    from huggingface_hub import _CACHED_NO_EXIST, constants, errors, hf_hub_download, try_to_load_from_cache

    name, revision = split_revision(repo)
    cache = cache_directory()
    try:
        with _quiet_client():
            return Path(hf_hub_download(name, filename, revision=revision, cache_dir=cache))
    except errors.LocalEntryNotFoundError as error:
        if try_to_load_from_cache(name, filename, revision=revision, cache_dir=cache) is _CACHED_NO_EXIST:
            return None
        if isinstance(error.__cause__, (errors.HfHubHTTPError, errors.FileMetadataError)):
            told = " ".join(str(error.__cause__).split())[:200]
            raise SourceError(f"fetching {name}/{filename} from {constants.ENDPOINT} failed: {told}") from error
        offline = constants.HF_HUB_OFFLINE and not _unreachable
        why = "HF_HUB_OFFLINE is set" if offline else f"the hub at {constants.ENDPOINT} cannot be reached"
        remedy = "unset HF_HUB_OFFLINE, " if offline else ""
        where = cache or constants.HF_HUB_CACHE
        raise SourceError(
            f"{why} and {name}/{filename} is not in the cache ({where}); {remedy}pass a file with "
            "`checkpoint='FILE'`, or fill the cache on a machine with a network (HF_HOME names it)"
        ) from error
    except errors.GatedRepoError as error:
        raise SourceError(f"{name} is gated: accept its terms on its page and log in with 'hf auth login'") from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(f"the hub has no model {name!r} (or it is private: log in with 'hf auth login')") from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{name} has no revision {revision or 'main'!r}") from error
    except errors.EntryNotFoundError:
        return None
    except errors.HFValidationError as error:
        raise SourceError(f"{name!r} is not a hub id; write it as org/name or org/name@revision") from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise SourceError(f"fetching {name}/{filename} failed: {' '.join(str(error).split())[:200]}") from error


def fetch_first(repo: str, filenames: tuple[str, ...]) -> Path:
    """The first of these files that ``repo`` has."""
    for filename in filenames:
        path = fetch(repo, filename)
        if path is not None:
            return path
    raise SourceError(f"{split_revision(repo)[0]} holds none of {', '.join(filenames)}")


def fetch_config(repo: str) -> tuple[Path, dict[str, Any]]:
    """The repository's config.json, with its path in the cache."""
    path = fetch(repo, "config.json")
    if path is None:
        raise SourceError(f"{repo} has no config.json, so it is no model that can be loaded by its id")
    return path, read_config(path)


def read_config(path: Path) -> dict[str, Any]:
    """A config.json as a dictionary."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not readable as JSON ({one_line(error)})") from error
    if not isinstance(config, dict):
        raise SourceError(f"{path}: not a JSON object")
    return config


def latest_commit(repo: str) -> str | None:
    """The commit that ``repo`` ("org/name", "org/name@revision") is at now; None where the hub does not say."""
    from huggingface_hub import HfApi, errors

    name, revision = split_revision(repo)
    try:
        with _quiet_client():
            return HfApi().model_info(name, revision=revision, timeout=10).sha
    except (errors.HfHubHTTPError, errors.HFValidationError, errors.HTTPError, errors.OfflineModeIsEnabled, OSError):  # type: ignore[attr-defined]
        return None


def commit_of(path: Path) -> str | None:
    """The commit that a cached file belongs to (its cache path is .../snapshots/COMMIT/FILE)."""
    parts = path.parts
    if "snapshots" in parts:
        return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]
    return None
