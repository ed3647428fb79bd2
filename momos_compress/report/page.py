"""The page of a report: one self-contained HTML file that asks the network for nothing."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, get_args

from momos_compress.drawing.render import Scheme, javascript, theme
from momos_compress.measures.registry import measure_named
from momos_compress.report import figures
from momos_compress.report.layers import panels_of, profile, profile_layers
from momos_compress.report.subject import Subject
from momos_compress.report.table import failures, rows_table
from momos_compress.report.texts import BASELINE_LABELS, name_of
from momos_compress.report.words import facts, summary
from momos_compress.study.rows import BASELINES

PROFILES_LIMIT = 3_000_000
"""Characters of layer profiles up to which a page holds those of all models; beyond, the chosen one's alone."""

NO_PROFILE = "No measured model has tensors of two or more dimensions with sides of at least 4."


def report_page(subject: Subject, warnings: Sequence[str]) -> str:
    """The page's HTML. Texts of rows are escaped in it, and in its JSON, so that none can become markup.

    Args:
        subject: The rows, and what is seen first.
        warnings: What to be careful of.
    """
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
        "measures": _radios("measure", {m: measure_named(m).label for m in subject.measures}, subject.measure),
        "baselines": _radios("baseline", {k: f"{v} copies" for k, v in BASELINE_LABELS.items()}, subject.baseline),
        "models": models,
        "models_note": html.escape(note),
        "failures": failures(subject.rows),
        "table": rows_table(subject.rows),
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
        "figure2": {f"{m}/{b}": subject.figure2(m, b) for m in subject.measures for b in BASELINES},
        "summaries": {f"{m}/{b}": summary(subject.rows, m, b) for m in subject.measures for b in BASELINES},
        "planes": {baseline: subject.planes(baseline) for baseline in BASELINES},
        "layers": layers,
        "correlation": {
            baseline: {"spec": spec, "reason": f"No chart: {reason}.", "left_out": left_out}
            for baseline, (spec, reason, left_out) in correlation.items()
        },
    }
    return data, models, note


def _layers(subject: Subject) -> tuple[dict[str, Any], str, str]:
    """The profiles by number, the options to choose one, and a note where there is only one."""
    if subject.model is None:
        return {"spec": None, "reason": NO_PROFILE}, "", ""
    having = [row for row in subject.good if profile_layers(row)]
    note = ""
    titles = panels_of(subject.good)
    profiles = [profile(row, titles) for row in having]
    if len(_json(profiles)) > PROFILES_LIMIT:
        having, profiles = [subject.model], [profile(subject.model, titles)]
        note = "Only this one: all profiles would make the page too large. Choose another by `model`."
    options = "".join(
        f'<option value="{number}"{" selected" if row.model == subject.model.model else ""}>'
        f"{html.escape(name_of(row))}</option>"
        for number, row in enumerate(having)
    )
    specs = {baseline: subject.layers(baseline) for baseline in BASELINES}
    captions = {baseline: spec["title"]["subtitle"] for baseline, spec in specs.items() if spec}
    spec = figures.layer_profile([], titles, "", subject.baseline, "")
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
