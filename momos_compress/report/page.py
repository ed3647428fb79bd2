"""The page of a report: one self-contained HTML file that asks the network for nothing."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, get_args

from momos_compress.drawing.render import Scheme, Spec, javascript, theme
from momos_compress.measures.settings import Measure
from momos_compress.report import figures
from momos_compress.report.correlation import correlations
from momos_compress.report.data import (
    BASELINE_LABELS,
    MEASURE_LABELS,
    families,
    name_of,
    plane_records,
    profile,
    profile_layers,
    profile_records,
    rank_records,
)
from momos_compress.report.table import failures, table
from momos_compress.report.words import facts, measured_over, seeds_of, summary
from momos_compress.study.rows import BASELINES, MEASURES, Row
from momos_compress.study.settings import BaselineKind

PROFILES_LIMIT = 3_000_000
"""Characters of layer profiles that a page may hold; beyond, it shows the chosen model's alone."""

NO_PROFILE = "No measured model has tensors of two or more dimensions with sides of at least 4."


@dataclass(frozen=True)
class Subject:
    """What a report is about: the rows, and what was chosen to be seen first. model: whose layers; None for none."""

    rows: Sequence[Row]
    measure: Measure
    baseline: BaselineKind
    model: Row | None

    @property
    def good(self) -> list[Row]:
        """Rows that were measured."""
        return [row for row in self.rows if row.status == "ok"]

    def figure2(self, measure: Measure, baseline: BaselineKind) -> Spec | None:
        """Ratios by rank; None where no model has this ratio."""
        shown = families(self.good)
        records = rank_records(self.good, measure, baseline, shown)
        over, seeds = measured_over(self.rows), seeds_of(self.good)
        return figures.figure2(records, shown, measure, baseline, over, seeds) if records else None

    def planes(self, baseline: BaselineKind) -> Spec | None:
        """QuBD by plane; None where no model has its ratios."""
        shown = families(self.good)
        records, medians = plane_records(self.good, baseline, shown)
        return figures.qubd_planes(records, medians, shown, baseline, measured_over(self.rows)) if records else None

    def layers(self, baseline: BaselineKind) -> Spec | None:
        """The chosen model's layers."""
        if self.model is None:
            return None
        records = profile_records(profile(self.model), baseline)
        return figures.layer_profile(records, name_of(self.model), baseline, measured_over(self.rows))

    def correlation(self, baseline: BaselineKind) -> tuple[Spec | None, str, str]:
        """The heatmap, why there is none, and which figures are left out of it."""
        found = correlations(self.good, baseline)
        left_out = "; ".join(f"{label} ({reason})" for label, reason in found.left_out.items())
        left_out = f"Left out: {left_out}." if left_out and not found.reason else ""
        return (None, found.reason, left_out) if found.reason else (figures.correlation(found, baseline), "", left_out)


def page(subject: Subject, warnings: Sequence[str]) -> str:
    """The page's HTML. Texts of rows are escaped in it, and in its JSON, so that none can become markup."""
    data, models, note = _data(subject)
    vega, script = _script(javascript()), _script(_file("page.js"))
    title = f"Complexity of {len(subject.good)} {'network' if len(subject.good) == 1 else 'networks'}"
    parts = {
        "policy": _policy(vega, script),
        "title": title,
        "style": _file("page.css"),
        "facts": "".join(f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in facts(subject.rows)),
        "warnings": "".join(f'<p class="warning">Warning: {html.escape(text)}.</p>' for text in warnings),
        "summary": html.escape(summary(subject.rows, subject.measure, subject.baseline)),
        "measures": _radios("measure", MEASURE_LABELS, subject.measure),
        "baselines": _radios("baseline", {k: f"{v} copies" for k, v in BASELINE_LABELS.items()}, subject.baseline),
        "models": models,
        "models_note": html.escape(note),
        "failures": failures(subject.rows),
        "table": table(subject.rows),
        "data": _json(data),
        "vega": vega,
        "script": script,
    }
    # One pass: braces in a model's name are never filled in.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def _data(subject: Subject) -> tuple[dict[str, Any], str, str]:
    correlation = {baseline: subject.correlation(baseline) for baseline in BASELINES}
    layers, models, note = _layers(subject)
    data = {
        "models": len(subject.good),
        "theme": {scheme: theme(scheme) for scheme in get_args(Scheme)},
        "figure2": {f"{m}/{b}": subject.figure2(m, b) for m in MEASURES for b in BASELINES},
        "summaries": {f"{m}/{b}": summary(subject.rows, m, b) for m in MEASURES for b in BASELINES},
        "planes": {baseline: subject.planes(baseline) for baseline in BASELINES},
        "layers": layers,
        "correlation": {
            baseline: {"spec": spec, "reason": f"No chart: {reason}.", "left_out": left_out}
            for baseline, (spec, reason, left_out) in correlation.items()
        },
    }
    return data, models, note


def _layers(subject: Subject) -> tuple[dict[str, Any], str, str]:
    """The profiles by number, the options of their choice, and a note where only one is shown."""
    if subject.model is None:
        return {"spec": None, "reason": NO_PROFILE}, "", ""
    having = [row for row in subject.good if profile_layers(row)]
    note = ""
    profiles = [profile(row) for row in having]
    if len(_json(profiles)) > PROFILES_LIMIT:
        having, profiles = [subject.model], [profile(subject.model)]
        note = "Only this one: all profiles would make the page too large. Another: --model NAME."
    options = "".join(
        f'<option value="{number}"{" selected" if row.model == subject.model.model else ""}>'
        f"{html.escape(name_of(row))}</option>"
        for number, row in enumerate(having)
    )
    specs = {baseline: subject.layers(baseline) for baseline in BASELINES}
    captions = {baseline: spec["title"]["subtitle"] for baseline, spec in specs.items() if spec}
    spec = figures.layer_profile([], "", subject.baseline, "")
    return {"spec": spec, "captions": captions, "profiles": profiles}, options, note


def _radios(name: str, labels: Mapping[Any, str], chosen: str) -> str:
    return "".join(
        f'<label><input type="radio" name="{name}" value="{key}" autocomplete="off"'
        f"{' checked' if key == chosen else ''}> {html.escape(label)}</label>"
        for key, label in labels.items()
    )


def _json(value: Any) -> str:
    """JSON that is safe inside a script element, whatever its strings hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script(text: str) -> str:
    """Code that cannot end the script element it lies in."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(*scripts: str) -> str:
    """A Content-Security-Policy: these scripts alone run, without eval, and nothing is fetched from anywhere."""
    marks = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{mark}'" for mark in marks)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _file(name: str) -> str:
    return files("momos_compress.report").joinpath(name).read_text(encoding="utf-8")
