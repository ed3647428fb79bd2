"""Records as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def csv_bytes(records: Sequence[Mapping[str, Any]]) -> bytes:
    """One or more records with the same keys, a header first, in UTF-8; what is no Unicode text is escaped."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode("utf-8", "backslashreplace")
