"""The report on a study: its records, charts, files and page."""

import csv
import dataclasses
import html
import json
import math
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, requests
from PIL import Image

from momos_cli.report import report
from momos_compress.errors import MomosError
from momos_compress.measures.complexity import Complexity
from momos_compress.measures.registry import MeasureName
from momos_compress.report.correlation import correlations
from momos_compress.report.families import families
from momos_compress.report.layers import panels_of, profile, profile_records
from momos_compress.report.ranks import plane_records
from momos_compress.report.texts import ratio_text
from momos_compress.report.words import cautions, facts, summary
from momos_compress.report.write import FIGURES, write_report
from momos_compress.study.flat_rows import flat_records
from momos_compress.study.row_files import read_rows, write_row
from momos_compress.study.rows import LayerRow, Row

pytest.importorskip("altair", reason="the extra 'report' is not installed")
pytest.importorskip("vl_convert", reason="the extra 'report' is not installed")

from momos_compress.drawing.render import Spec, javascript, render_svg
from momos_compress.report import page as report_page
from momos_compress.report.subject import Subject

HOSTILE = "</script><img src=x onerror=alert(1)>"
SETTINGS = {
    "seeds": 3,
    "seed": 0,
    "pretrained": True,
    "measures": {"planes": 8, "percentile": None, "rates": "sign"},
}
FAMILIES = ("resnet", "vision_transformer", "efficientnet", "convnext", "regnet", "mobilenetv3", "swin_transformer",
            "densenet", "vgg", "levit", "cait", "hrnet")  # fmt: skip


def complexity(weights: int, factor: float, draw: random.Random, **fields: Any) -> Complexity:
    """Figures as random weights have them, times a factor that grows from the last plane to the first."""
    noise = [1 + draw.gauss(0, 2e-3) for _ in range(8)]
    deviation = factor - 1
    return dataclasses.replace(
        Complexity(
            weights=weights,
            sign=165_000 * (1 + 0.01 * deviation) * (1 + draw.gauss(0, 3e-6)),
            windowed=2.6 * weights * (1 + 0.2 * deviation) * (1 + draw.gauss(0, 1e-4)),
            matrix=1.05 * weights * (1 + 0.3 * deviation) * (1 + draw.gauss(0, 1e-4)),
            qubd=tuple(weights * (1 + deviation * 2.0**-plane) * noise[plane] for plane in range(8)),
            sign_entropy=12 + 0.1 * min(0.0, deviation) - draw.random() * 0.01,
            matrix_entropy=15.9 + 0.1 * min(0.0, deviation) - draw.random() * 0.01,
            qubd_entropy=(15.0,) * 8,
            sparsity=0.0,
            l2=100 * draw.random(),
            sign_rates={name: min(1.0, factor) + draw.gauss(0, 1e-3) for name in ("gzip", "bz2", "lzma")},
        ),
        **fields,
    )


def ok_row(model: str, seed: int = 0, *, layers: int = 12, factor: float | None = None, **fields: Any) -> Row:
    """A measured model with seeded figures."""
    draw = random.Random(seed)
    weights = int(10 ** draw.uniform(6, 8))
    factor = draw.gauss(0.95, 0.05) if factor is None else factor
    tensors = []
    for index in range(layers):
        size = 4096 * (1 + index % 7)
        own = complexity(size, factor + 0.1 * draw.random(), draw)
        copies = [{"sign": 1000.0, "windowed": 2.6 * size, "matrix": 1.05 * size, "qubd": (float(size),) * 8}] * 2
        tensors.append(LayerRow(f"blocks.{index}.attn.qkv.weight", (64, size // 64), own, *copies))
        bias = dataclasses.replace(own, matrix=None, qubd=None)
        tensors.append(LayerRow(f"blocks.{index}.attn.qkv.bias", (64,), bias, {"sign": 30.0}, {"sign": 30.0}))
    row = Row(
        model=model,
        status="ok",
        fingerprint="0",
        version="0.1.0",
        family=draw.choice(FAMILIES),
        library="timm",
        parameters=weights,
        complexity=complexity(weights, factor, draw),
        reinitialised=tuple(complexity(weights, 1.0, draw) for _ in range(3)),
        shuffled=tuple(complexity(weights, 1 + (factor - 1) / 2, draw) for _ in range(3)),
        baseline="as timm initialises it",
        revision="0123abc",
        settings=SETTINGS,
        layers=tuple(tensors),
        seconds=60 * draw.random(),
        peak_memory_bytes=draw.randrange(2**30, 2**33),
    )
    return dataclasses.replace(row, **fields)


def failed_row(model: str, error: str = "no such model") -> Row:
    return Row(model, "failed", "0", "0.1.0", error, settings=SETTINGS)


def many(count: int, *, layers: int = 12) -> list[Row]:
    """So many measured models of 12 families."""
    return [ok_row(f"model_{index:03d}.in1k", index, layers=layers) for index in range(count)]


def study(directory: Path, rows: Sequence[Row]) -> Path:
    """A results directory of these rows."""
    for row in rows:
        write_row(directory, row)
    return directory


def svg_texts(svg: bytes) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())]


def chart(rows: Sequence[Row], measure: MeasureName = "sign") -> Spec:
    spec = Subject(rows, measure, "reinitialised", None).figure2(measure, "reinitialised")
    assert spec is not None
    return spec


def values(spec: Spec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["datasets"]["models"]
    return found


@pytest.mark.parametrize("count", [1, 3, 110])
@pytest.mark.parametrize("measure", ["sign", "qubd"])
def test_models_are_ranked_and_bars_span_the_seeds(count: int, measure: MeasureName) -> None:
    rows = [*many(count), failed_row("broken")]
    records = values(chart(rows, measure))
    assert [record["rank"] for record in records] == list(range(1, count + 1))
    ratios = [record["ratio"] for record in records]
    assert ratios == sorted(ratios)
    by_model = {row.model: row for row in rows}
    for record in records:
        own = by_model[record["model"]]
        assert own.complexity is not None
        each = [own.complexity.value(measure) / copy.value(measure) for copy in own.reinitialised]  # type: ignore[operator]
        assert (record["low"], record["high"]) == (min(each), max(each))
        assert record["ratio"] == pytest.approx(sum(each) / 3, rel=1e-14)
        assert record["parameters"] == own.parameters


def test_an_axis_of_ratios_close_to_1_is_legible_and_does_not_begin_at_0() -> None:
    def near(index: int) -> Row:
        row = ok_row(f"m{index}", index)
        own = dataclasses.replace(row.complexity, sign=1e5 * (1 + (index - 10) * 1e-7))  # type: ignore[type-var]
        copies = tuple(dataclasses.replace(copy, sign=1e5) for copy in row.reinitialised)
        return dataclasses.replace(row, complexity=own, reinitialised=copies)

    for rows in ([near(index) for index in range(21)], [near(10)]):
        ticks = [text for text in svg_texts(render_svg(chart(rows))) if re.fullmatch(r"[01]\.\d+", text)]
        assert len(ticks) == len(set(ticks)) >= 3
        assert all(0.99999 < float(tick) < 1.00001 for tick in ticks)


def test_the_most_frequent_families_have_colours_and_the_rest_share_one() -> None:
    rows = [ok_row(f"{index}-{copy}", family=f"f{index}") for index in range(11) for copy in range(index + 1)]
    shown = families([*rows, failed_row("broken")])
    assert shown == [f"f{index}" for index in range(10, 2, -1)] + ["other"]
    coded = {record["its_family"]: record["family"] for record in values(chart(rows))}
    assert coded["f10"] == "f10"
    assert {coded[f"f{index}"] for index in range(3)} == {"other"}
    assert families(rows[-20:]) == ["f10", "f9"]


def test_planes_have_their_median_and_layers_their_own_ratio() -> None:
    rows = many(5)
    records, medians = plane_records(rows, "shuffled", families(rows))
    assert len(records) == 5 * 8
    for plane in range(8):
        middle = sorted(row.plane_ratios("shuffled")[plane].mean for row in rows)[2]
        assert medians[plane] == {"plane": plane + 1, "median": pytest.approx(middle, rel=1e-8), "models": 5}
    layers = profile_records(profile(rows[0], panels_of(rows)), "reinitialised")
    assert len(layers) == 12, "biases have no place in a profile"
    assert [layer["order"] for layer in layers] == list(range(1, 13))
    third = rows[0].layers[4]
    assert third.complexity.qubd is not None
    assert layers[2]["name"] == third.name
    assert layers[2]["qubd"] == pytest.approx(third.complexity.qubd[0] / third.reinitialised["qubd"][0], rel=1e-5)  # type: ignore[index]
    assert layers[2]["windowed"] == pytest.approx(
        third.complexity.windowed / third.reinitialised["windowed"],
        rel=1e-5,  # type: ignore[operator]
    )


def test_correlations_are_those_of_ranks() -> None:
    rows = many(30)
    found = correlations([*rows, failed_row("broken")], "reinitialised")
    assert (found.models, found.reason) == (30, None)
    ratios = np.array([row.ratio("windowed").mean for row in rows])  # type: ignore[union-attr]
    sizes = np.array([row.parameters for row in rows])
    expected = np.corrcoef(np.argsort(np.argsort(ratios)), np.argsort(np.argsort(sizes)))[0, 1]
    cells = {(cell["row"], cell["column"]): cell for cell in found.cells}
    cell = cells["windowed sign ratio", "log10 parameters"]
    assert (cell["rho"], cell["n"]) == (pytest.approx(expected, abs=1e-4), 30)
    assert cells["QuBD ratio", "QuBD ratio"]["rho"] == 1
    assert found.left_out["sparsity"] == "the same for every model"
    assert found.left_out["gzip rate, float32"] == "not measured"
    few = correlations(rows[:2], "reinitialised")
    assert few.reason == "a rank correlation needs at least 3 measured models, not 2"


def test_a_model_without_a_figure_counts_in_no_pair_with_it() -> None:
    rows = many(6)
    lacking = dataclasses.replace(rows[0], complexity=dataclasses.replace(rows[0].complexity, qubd=None))  # type: ignore[type-var]
    found = correlations([lacking, *rows[1:]], "reinitialised")
    counts = {(cell["row"], cell["column"]): cell["n"] for cell in found.cells}
    assert counts["QuBD ratio", "1-D sign ratio"] == 5
    assert counts["1-D sign ratio", "log10 parameters"] == 6


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0000"), (0.9041384, "0.9041"), (1.2, "1.2000"), (0.99985, "0.999850"), (1 - 1.34e-6, "0.99999866"),
     (1 + 1e-15, "1.000000000000")],
)  # fmt: skip
def test_a_ratio_shows_how_far_from_1_it_is(value: float, text: str) -> None:
    assert ratio_text(value) == text


def test_only_ratios_whose_every_seed_lies_below_1_count_as_below() -> None:
    def row(model: str, *ratios: float) -> Row:
        own = ok_row(model)
        assert own.complexity is not None
        total = dataclasses.replace(own.complexity, sign=1000.0)
        copies = tuple(dataclasses.replace(total, sign=1000 / ratio) for ratio in ratios)
        return dataclasses.replace(own, complexity=total, reinitialised=copies)

    rows = [row("a", 0.5, 0.99), row("b", 0.6, 1.01), row("c", 1.2, 1.3), row("d", 0.7, 0.8), failed_row("e")]
    assert summary(rows, "sign", "reinitialised") == (
        "1-D sign BDM over re-initialised copies: median ratio 0.7775 over 4 models. 2 lie below 1 with every seed, "
        "1 above 1 with every seed; for 1 the spread over seeds includes 1. "
        "Of networks that are like their copies, one in 3 would lie below 1 with every seed by chance."
    )
    assert "With one seed nothing is known of the spread." in summary([row("a", 0.5)], "sign", "reinitialised")
    none = dataclasses.replace(rows[0], shuffled=())
    assert "2 lie below" not in summary([none], "sign", "shuffled")
    assert "no model has this ratio" in summary([none], "sign", "shuffled")


def test_the_head_of_the_page_says_what_was_studied() -> None:
    rows = [*many(2), failed_row("broken")]
    told = dict(facts(rows))
    assert told["networks"] == "2 measured, 1 failed"
    assert told["weights"] == "pretrained weights"
    assert told["copies"] == "3 seeds each, re-initialised and shuffled, first seed 0"
    assert told["QuBD"] == "8 bit-planes over [min, max]"
    assert told["measured by"] == "momos-compress 0.1.0"
    control = [dataclasses.replace(row, settings=SETTINGS | {"pretrained": False}) for row in rows]
    assert "the study's control" in dict(facts(control))["weights"]
    assert "random over re-initialised" in str(chart(control))


def test_mixed_settings_and_versions_are_told() -> None:
    rows = many(3)
    assert cautions([*rows, dataclasses.replace(failed_row("x"), version="9")]) == []
    mixed = [*rows, ok_row("x", settings=SETTINGS | {"seeds": 5}), ok_row("y", version="9.9")]
    settings, versions = cautions(mixed)
    assert "different settings are mixed: seeds is 3 in 4 rows, 5 in 1 row; their ratios cannot" in settings
    assert "different versions are mixed: 0.1.0 in 4 rows, 9.9 in 1 row" in versions


@pytest.mark.parametrize("count", [1, 3, 110])
def test_a_report_is_whole_and_the_same_every_time(count: int, tmp_path: Path) -> None:
    rows = [*many(count, layers=40 if count == 110 else 12), failed_row("broken", "no such thing")]
    results = study(tmp_path, rows)
    written = write_report(results)
    names = {path.name for path in written.figures}
    assert names == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")} - (
        {"correlation.png", "correlation.svg"} if count < 3 else set()
    )
    assert written.page == results / "report" / "index.html"
    assert written.page.stat().st_size < 6e6
    assert (written.ok, written.failed) == (count, 1)
    for path in written.figures:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert 1300 < picture.width < 1900, "twice the width of a README"
    titles = svg_texts((results / "report" / "figure2.svg").read_bytes())
    assert f"BDM ratio of {count} model{'s' * (count > 1)}: 1-D sign BDM" in titles
    assert "BDM ratio, pretrained over re-initialised (bits / bits)" in titles
    assert "bit-plane (1 = most significant)" in svg_texts((results / "report" / "qubd_planes.svg").read_bytes())
    with written.csv.open(newline="") as file:
        records = list(csv.DictReader(file))
    expected = flat_records(read_rows(results))
    assert [record["model"] for record in records] == [record["model"] for record in expected]
    assert float(records[-1]["sign_ratio"]) == expected[-1]["sign_ratio"]
    assert records[0]["error"] == "no such thing"
    if count == 110:  # twice as long, and nothing that three models do not show
        return
    again = write_report(results, tmp_path / "again")
    for path in (written.page, written.csv, *written.figures):
        assert path.read_bytes() == (again.page.parent / path.name).read_bytes(), path.name


def test_what_cannot_be_drawn_is_left_out_with_the_reason_and_never_stale(tmp_path: Path) -> None:
    study(tmp_path, many(3))
    assert (write_report(tmp_path).page.parent / "correlation.png").is_file()
    nothing = {"matrix": None, "qubd": None}
    for row in many(2):
        copies = tuple(dataclasses.replace(copy, **nothing) for copy in row.reinitialised)
        own = dataclasses.replace(row.complexity, **nothing)  # type: ignore[type-var]
        write_row(tmp_path, dataclasses.replace(row, complexity=own, reinitialised=copies, layers=()))
    write_row(tmp_path, failed_row("model_002.in1k"))
    written = write_report(tmp_path, measure="matrix")
    assert written.figures == ()
    assert written.warnings == (
        "figure2 is left out: no model has the matrix ratio",
        "qubd_planes is left out: no model has QuBD's ratios",
        "layers is left out: no measured model has tensors with a 2-D measure",
        "correlation is left out: a rank correlation needs at least 3 measured models, not 2",
    )
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["index.html", "rows.csv"]


def page_data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_names_and_errors_never_become_markup(tmp_path: Path) -> None:
    layer = dataclasses.replace(ok_row("x").layers[0], name=HOSTILE)
    hostile = ok_row(HOSTILE, family=HOSTILE, layers=0)
    rows = [dataclasses.replace(hostile, layers=(layer,), warnings=(HOSTILE,)), failed_row("{{vega}}", HOSTILE)]
    study(tmp_path, rows)
    # A lone surrogate, as JSON can hold it, and a mark that turns the direction of writing.
    record = failed_row("\ud800\u202e=1+1", "\udfff").to_json()
    (tmp_path / "rows" / "z.json").write_text(json.dumps(record))
    written = write_report(tmp_path)
    page = written.page.read_text()
    assert "<img" not in page.replace(javascript(), ""), "vega's own code holds one"
    assert page.count("</script>") == 3
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert re.match(r"default-src 'none'; script-src 'sha256-\S+' 'sha256-\S+'; style-src", policy[1]), (
        "no eval, no URL"
    )
    assert page_data(page)["layers"]["profiles"][0]["name"] == [HOSTILE]
    assert "<b>{{vega}}</b>: &lt;/script&gt;&lt;img" in page
    for path in written.figures:
        assert b"<img" not in path.read_bytes()


def test_a_page_holds_one_profile_where_all_would_be_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "PROFILES_LIMIT", 10)
    study(tmp_path, many(3))
    page = write_report(tmp_path, model="model_001.in1k").page.read_text()
    assert len(page_data(page)["layers"]["profiles"]) == 1
    assert re.findall(r"<option[^>]*>([^<]*)", page) == ["model_001.in1k"]
    assert "Choose another by `model`." in page
    assert "BDM ratio by layer: model_001.in1k" in svg_texts((tmp_path / "report" / "layers.svg").read_bytes())


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path, [failed_row("a", "first\nerror"), failed_row("b")])
    with pytest.raises(MomosError, match=r"no row was measured, all 2 failed; the first: first error$"):
        write_report(tmp_path)
    with pytest.raises(MomosError, match=r"no rows of a study; run 'momos-compress study"):
        write_report(tmp_path / "nowhere")
    study(tmp_path, many(2))
    with pytest.raises(
        MomosError, match=r"`model` 'model_00' is no measured model of this study; close ones: model_00"
    ):
        write_report(tmp_path, model="model_00")
    with pytest.raises(MomosError, match=r"unknown measure 'entropy'; choose from sign, windowed, matrix, qubd, lz$"):
        write_report(tmp_path, measure="entropy")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(MomosError, match=r"file' cannot be made \(File exists\); choose another `output`"):
        write_report(tmp_path, tmp_path / "file")
    for room, name in (
        ("report", "figures"),
        ("report", "page"),
        ("report", "subject"),
        ("drawing", "charts"),
        ("drawing", "render"),
    ):
        monkeypatch.delitem(sys.modules, f"momos_compress.{room}.{name}")
        monkeypatch.delattr(f"momos_compress.{room}.{name}")
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MomosError, match=r"a report needs altair; pip install 'momos-compress\[report\]'"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"model": 5}, {"family": {"a": 1}}, {"parameters": "many"}, {"parameters": 0}, {"version": None}, {"status": "no"},
     {"settings": [1]}, {"complexity": None}, {"seconds": math.nan}, {"peak_memory_bytes": "x"}],
    ids=str,
)  # fmt: skip
def test_a_row_of_wrong_kinds_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    record = ok_row("fine").to_json() | change
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.json").write_text(json.dumps(record))
    with pytest.raises(MomosError, match=r"delete it and run again"):
        write_report(tmp_path)


def test_the_command_tells_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path, [*many(2), failed_row("broken")])
    report(str(tmp_path), json_=True, baseline="shuffled")
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["ok"], record["failed"], len(record["figures"])) == (2, 1, 6)
    assert record["page_bytes"] == Path(record["page"]).stat().st_size
    assert err == "warning: correlation is left out: a rank correlation needs at least 3 measured models, not 2\n"
    report(str(tmp_path), output=str(tmp_path / "out"))
    assert "2 measured, 1 failed -> " in capsys.readouterr().out


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of 30 models, of a hostile one, and of two that failed, opened in a browser."""
    directory = tmp_path_factory.mktemp("page")
    rows = [*many(30), ok_row(HOSTILE, 1), failed_row("broken"), failed_row(f"{HOSTILE}2", HOSTILE)]
    page = write_report(study(directory, rows)).page
    with chromium(directory / "profile") as browser:
        browser.get(page.as_uri())
        ready(browser)
        yield browser


def ready(browser: Any, script: str = "return document.documentElement.dataset.ready === 'yes'") -> None:
    deadline = time.monotonic() + 300
    while not browser.execute_script(script):
        assert time.monotonic() < deadline, f"never true: {script}; console: {browser.get_log('browser')}"
        time.sleep(0.05)


def test_the_page_draws_every_chart_and_asks_for_nothing(visited: Any) -> None:
    count = "return document.querySelectorAll(arguments[0]).length"
    for figure, marks in (("figure2", 31), ("qubd_planes", 31 * 8), ("layers", 36), ("correlation", 81)):
        kind = "path[aria-roledescription]"
        assert visited.execute_script(count, f"#{figure} svg {kind}") >= marks, figure
    assert [url for url in requests(visited) if not url.startswith(("data:", "blob:"))] == [visited.current_url]
    assert visited.get_log("browser") == []
    assert visited.execute_script("return [document.images.length, document.scripts.length]") == [0, 3]
    assert HOSTILE in visited.execute_script("return document.querySelector('tbody').textContent")


def test_the_table_sorts_by_number_and_filters(visited: Any) -> None:
    def column(name: str) -> list[Any]:
        script = """const heads = [...document.querySelectorAll('thead th')];
            const at = heads.findIndex(head => head.textContent === arguments[0]);
            return [heads[at].getAttribute('aria-sort'), [...document.querySelectorAll('tbody tr')].map(
              row => row.cells[at].dataset.value === undefined ? null : Number(row.cells[at].dataset.value))]"""
        found: list[Any] = visited.execute_script(script, name)
        return found

    for name in ("parameters", "QuBD, all planes ratio", "possible 1-D sign ratio", "time"):
        button = visited.find_element("xpath", f"//thead//button[text()='{name}']")
        for direction in ("ascending", "descending"):
            visited.execute_script("arguments[0].click()", button)
            told, found = column(name)
            known = [value for value in found if value is not None]
            assert told == direction
            assert known == sorted(known, reverse=direction == "descending")
            assert len(known) == (33 if name == "time" else 31)
            assert found[len(known) :] == [None] * (33 - len(known)), "what is missing comes last"
    box = visited.find_element("id", "filter")
    box.send_keys("MODEL_01")
    shown = visited.execute_script(
        "return [...document.querySelectorAll('tbody tr:not([hidden]) th')].map(h => h.textContent)"
    )
    assert sorted(shown) == [f"model_01{digit}.in1k" for digit in range(10)]
    assert visited.find_element("id", "shown").text == "10 of 33 rows"
    box.clear()
    box.send_keys("broken")
    assert visited.find_element("id", "shown").text == "1 of 33 rows"
    assert "no such model" in visited.find_element("css selector", "tbody tr:not([hidden])").text
    box.clear()
    box.send_keys(" ")


def hover(browser: Any, figure: str, words: str) -> str:
    """The tooltip of the mark that is described with these words."""
    from selenium.webdriver import ActionChains

    script = """return [...document.querySelectorAll(`#${arguments[0]} svg path[aria-label]`)].find(
        mark => mark.getAttribute('aria-label').includes(arguments[1]))"""
    mark = browser.execute_script(script, figure, words)
    assert mark is not None, words
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).perform()
    ready(browser, "return document.querySelector('#vg-tooltip-element.visible') !== null")
    text: str = browser.find_element("id", "vg-tooltip-element").text
    ActionChains(browser).move_to_element(browser.find_element("css selector", "h2")).perform()
    return text


def test_a_mark_tells_its_model_and_the_choices_change_the_chart(visited: Any) -> None:
    rows = {row.model: row for row in [*many(30), ok_row(HOSTILE, 1)]}
    ratio = rows["model_007.in1k"].ratio("sign")
    assert ratio is not None
    told = hover(visited, "figure2", "model: model_007.in1k;")
    assert "model_007.in1k" in told
    assert ratio_text(ratio.mean, ratio.low, ratio.high) in told
    assert "possible 1-D sign ratio" in told
    assert HOSTILE in hover(visited, "figure2", f"model: {HOSTILE}")
    assert "model_" in hover(visited, "qubd_planes", "plane: 1;")
    assert "blocks.3.attn.qkv.weight" in hover(visited, "layers", "tensor: 4;")
    before = visited.find_element("id", "summary").text
    for name, value in (("measure", "windowed"), ("baseline", "shuffled")):
        visited.execute_script(f"document.querySelector('input[name={name}][value={value}]').click()")
    caption = "return document.querySelector('#figure2 figcaption').textContent"
    ready(visited, f"{caption}.includes('over shuffled')")
    ready(visited, "return document.querySelector('#figure2 svg') !== null")
    assert visited.find_element("id", "summary").text != before
    assert "windowed sign BDM over shuffled copies" in visited.find_element("id", "summary").text
    visited.execute_script(
        "const s = document.getElementById('model'); s.value = '5'; s.dispatchEvent(new Event('change'))"
    )
    ready(visited, "return document.querySelector('#layers svg') !== null")
    assert visited.get_log("browser") == []
    assert visited.execute_script("return document.images.length") == 0


def test_the_page_fits_a_telephone_and_the_dark(visited: Any) -> None:
    def colour(selector: str) -> str:
        found: str = visited.execute_script(
            "const e = document.querySelector(arguments[0]);return e.getAttribute('fill') ?? getComputedStyle(e).color",
            selector,
        )
        return found

    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    visited.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    ready(visited, "return document.querySelector('#figure2 svg')?.getBoundingClientRect().width <= 360")
    ready(visited, "return document.documentElement.scrollWidth <= 360")
    before = colour("#figure2 svg text")
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    visited.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    ready(visited, "return document.querySelector('#figure2 svg text')?.getAttribute('fill') === '#e6edf3'")
    assert before == "#1f2328"
    assert colour("body") == "rgb(230, 237, 243)"
    assert visited.get_log("browser") == []
