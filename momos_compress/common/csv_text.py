"""Records as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def csv_bytes(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Write records as a CSV file in UTF-8, with a header.

    Args:
        records: At least one; all have the keys of the first.

    Returns:
        The file. Characters that UTF-8 cannot hold are escaped with backslashes.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode("utf-8", "backslashreplace")
