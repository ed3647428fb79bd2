"""The tokenizer that goes with a transformers model: from the directory or hub repository its weights came from."""

from pathlib import Path
from typing import Any

from torch import nn

from momos_compress.errors import MomosError, SourceError, one_line
from momos_compress.sources import hub
from momos_compress.sources.address import PREFIXES
from momos_compress.sources.architecture import load_transformers, quiet_transformers
from momos_compress.sources.untrusted import no_network

SETTINGS_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files of a hub repository that say how its tokenizer is built."""

VOCABULARY = "tokenizer.json"
"""The file that holds a tokenizer whole."""

OLDER_VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
"""Files that take the place of tokenizer.json in older repositories, which have two of them at most."""

REMEDY = "copy tokenizer.json and tokenizer_config.json of the model into one directory with its config.json"
"""How messages say what to do."""


def load_tokenizer(model: nn.Module, source: str | None = None) -> Any:
    """Load the tokenizer of a transformers model; no code of a repository is run.

    Args:
        model: The model.
        source: The directory, weights file or hub id that it came from; where that has no tokenizer, what the model
            itself remembers is tried.

    Raises:
        MomosError: Neither has a tokenizer, or it cannot be loaded.
        SourceError: The hub cannot be reached.
    """
    # transformers writes a missing name as "None".
    places = [place for place in (source, getattr(model, "name_or_path", None)) if place and place != "None"]
    for place in places:
        directory = _directory(place, type(model).__name__)
        if directory is not None:
            return _load(directory, place)
    where = f"none beside {places[0]}" if places else "nothing is known of where it came from"
    raise MomosError(f"{type(model).__name__} reads tokens and its tokenizer is missing: {where}; {REMEDY}")


def _directory(place: str, network: str) -> Path | None:
    """A directory with the tokenizer's files; None where ``place`` has none."""
    where = place.partition(":")[2] if place.startswith(PREFIXES) else place
    path = Path(where).expanduser()
    if path.exists():
        directory = path if path.is_dir() else path.parent
        # Without a vocabulary transformers would make up a tokenizer that knows no word.
        names = (VOCABULARY, "tokenizer_config.json", *OLDER_VOCABULARIES)
        return directory if any((directory / name).is_file() for name in names) else None
    if where.count("/") != 1 or place.startswith("local-dir:"):
        return None
    try:
        return _fetched(where)
    except SourceError as error:
        raise SourceError(f"{network} reads tokens and its tokenizer cannot be had: {error}") from error


def _fetched(repo: str) -> Path | None:
    for name in SETTINGS_FILES:
        hub.fetch(repo, name)
    path = hub.fetch(repo, VOCABULARY)
    if path is None:
        path = next(filter(None, [hub.fetch(repo, name) for name in OLDER_VOCABULARIES]), None)
    return None if path is None else path.parent


def _load(directory: Path, place: str) -> Any:
    auto = load_transformers().AutoTokenizer
    try:
        with no_network(), quiet_transformers():
            return auto.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raise what a strange file leads them to
        raise MomosError(f"{place}: its tokenizer cannot be loaded ({one_line(error, 160)}); {REMEDY}") from error
