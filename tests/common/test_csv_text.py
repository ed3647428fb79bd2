"""Records as CSV."""

import csv
import io

from momos_compress.common.csv_text import csv_bytes


def test_records_come_back() -> None:
    records = [{"name": 'a "b", c', "value": 1.5}, {"name": "zwei\nZeilen", "value": None}]
    rows = list(csv.DictReader(io.StringIO(csv_bytes(records).decode())))
    assert rows == [{"name": 'a "b", c', "value": "1.5"}, {"name": "zwei\nZeilen", "value": ""}]


def test_what_is_no_unicode_text_is_escaped() -> None:
    assert csv_bytes([{"name": "\udcff"}]) == b"name\n\\udcff\n"
