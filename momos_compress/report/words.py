"""What a report says in words: what was studied, how the ratios lie, and what to be careful of."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from momos_compress.errors import one_line
from momos_compress.measures.registry import MeasureName, measure_named
from momos_compress.report.ranks import ranked
from momos_compress.report.texts import BASELINE_LABELS, ratio_text
from momos_compress.study.rows import Row
from momos_compress.study.settings import BaselineKind


def summary(rows: Sequence[Row], measure: MeasureName, baseline: BaselineKind) -> str:
    """Say how the ratios lie; a model counts as below 1 only where every seed says so."""
    ratios = [ratio for _, ratio in ranked(rows, measure, baseline)]
    what = f"{measure_named(measure).label} over {BASELINE_LABELS[baseline]} copies"
    if not ratios:
        return f"{what}: no model has this ratio."
    below = sum(ratio.high < 1 for ratio in ratios)
    above = sum(ratio.low > 1 for ratio in ratios)
    median = ratio_text(statistics.median(ratio.mean for ratio in ratios))
    text = f"{what}: median ratio {median} over {_count(len(ratios), 'model')}. "
    text += f"{below} {_lie(below)} below 1 with every seed, {above} above 1 with every seed; "
    between = len(ratios) - below - above
    text += f"for {between} the spread over seeds includes 1."
    seeds = {len(ratio.values) for ratio in ratios}
    if seeds == {1}:
        text += " With one seed nothing is known of the spread."
    elif len(seeds) == 1:
        # A network like its copies is the least of 1 + n equals with a chance of 1 / (1 + n).
        odds = 1 + seeds.pop()
        text += f" Of networks that are like their copies, one in {odds} would lie below 1 with every seed by chance."
    missing = sum(row.status == "ok" for row in rows) - len(ratios)
    return text + (f" {_count(missing, 'measured model')} without this ratio." if missing else "")


def _lie(count: int) -> str:
    return "lies" if count == 1 else "lie"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def measured_over(rows: Iterable[Row]) -> str:
    """Name what the copies are compared with: "pretrained", "random" for the control, "model" where rows differ."""
    kinds = {bool(row.settings.get("pretrained", True)) for row in rows if row.status == "ok"}
    return "model" if len(kinds) != 1 else "pretrained" if kinds.pop() else "random"


def seeds_of(rows: Iterable[Row]) -> str:
    """Say how many copies a ratio is the mean of, as "3 seeds" or "2 to 3 seeds"."""
    counts = sorted({len(row.reinitialised) for row in rows if row.reinitialised})
    if counts == [1]:
        return "1 seed"
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds" if counts else "no seeds"


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Say what was studied, as pairs for the head of a page; where rows differ, as most of them have it."""
    good = [row for row in rows if row.status == "ok"]
    weights = {
        "pretrained": "pretrained weights",
        "random": "random weights: the study's control, whose ratios should lie at 1",
        "model": "pretrained weights of some, random weights (the control) of others",
    }
    common = Counter(_canonical(row.settings) for row in good).most_common(1)[0][0]
    settings: Mapping[str, Any] = json.loads(common)
    measures = settings.get("measures")
    measures = measures if isinstance(measures, Mapping) else {}
    percentile = measures.get("percentile")
    span = "[min, max]" if percentile is None else f"the {one_line(percentile, 20)} % percentile range"
    rates = {"none": "none", "sign": "of the sign bits", "all": "of the sign bits and of the float32 bytes"}
    return [
        ("networks", f"{len(good)} measured, {len(rows) - len(good)} failed"),
        ("weights", weights[measured_over(rows)]),
        ("copies", f"{seeds_of(good)} each, re-initialised and shuffled, first seed {_text(settings, 'seed')}"),
        ("QuBD", f"{_text(measures, 'planes')} bit-planes over {span}"),
        ("compressor rates", rates.get(str(measures.get("rates")), "unknown")),
        ("measured by", "momos-compress " + ", ".join(sorted({one_line(row.version, 40) for row in good}))),
    ]


def cautions(rows: Sequence[Row]) -> list[str]:
    """Say why the rows of a directory may not be compared: other settings, another version.

    Measures beside the first four are left aside, as the figures of the others do not depend on them.
    """
    good = [row for row in rows if row.status == "ok"]
    found = []
    flat = [_flat(json.loads(_canonical(row.settings))) for row in good]
    for key in sorted({key for settings in flat for key in settings} - {"measures.also"}):
        counts = Counter(settings.get(key, "unknown") for settings in flat)
        if len(counts) > 1:
            found.append(f"rows of different settings are mixed: {one_line(key, 40)} is {_told(counts)}")
    versions = Counter(row.version for row in good)
    if len(versions) > 1:
        found.append(f"rows of different versions are mixed: {_told(versions)}")
    return [f"{text}; their ratios cannot be compared" for text in found]


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{one_line(value, 40)} in {_count(count, 'row')}" for value, count in sorted(counts.items()))


def _flat(settings: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(settings, dict):
        return {prefix.removeprefix("."): json.dumps(settings)}
    return {key: text for name, value in settings.items() for key, text in _flat(value, f"{prefix}.{name}").items()}


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _text(settings: Mapping[str, Any], key: str) -> str:
    return one_line(settings.get(key, "unknown"), 20)
