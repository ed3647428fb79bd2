"""The texts that ship with the package, for language models that were given none; corpus.md says whose they are."""

import gzip
import json
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path

from momos_compress.errors import MomosError, one_line

CORPUS = Path(__file__).with_name("corpus.jsonl.gz")
"""A JSON string a line."""

SHORT = 110
"""Characters of a short text, about a sentence."""


def corpus_texts() -> Iterator[str]:
    """Read the texts, which are of many kinds and in no order.

    Raises:
        MomosError: The file is not there or damaged, as in an incomplete installation.
    """
    try:
        with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise MomosError(
            f"the texts that ship with the package cannot be read ({one_line(error, 160)}); install it anew, or give "
            "texts with `calibrate='FILE'`"
        ) from error


def texts_of_any_length() -> Iterator[str]:
    """Read every other text whole, and the rest as short texts of about a sentence.

    Attention averages over a text, so what reaches a layer depends on the text's length, and an encoder is given
    sentences as well as paragraphs. Drawn uniformly, about half of the tokens are of either.
    """
    for number, text in enumerate(corpus_texts()):
        yield from textwrap.wrap(text, SHORT) if number % 2 else [text]
