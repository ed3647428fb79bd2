"""Rows: what is derived from them, and that they survive their files."""

import json
from pathlib import Path

import pytest

from momos_compress import MomosError
from momos_compress.measures.complexity import Complexity
from momos_compress.measures.registry import default_measures
from momos_compress.study.flat_rows import flat_records
from momos_compress.study.row_files import fingerprint, read_row, read_rows, row_path, write_row
from momos_compress.study.rows import LayerRow, Row


def complexity(factor: float = 1.0, **fields: object) -> Complexity:
    own: dict[str, object] = {
        "weights": 60_000, "sign": 100.0 * factor, "windowed": 200.0 * factor, "matrix": 300.0 * factor,
        "qubd": (10.0 * factor, 20.0), "sign_entropy": 11.0, "matrix_entropy": 12.0, "qubd_entropy": (1.0, 2.0),
        "sparsity": 0.25, "l2": 3.0, "sign_rates": {"gzip": 0.9, "bz2": 1.0, "lzma": 0.8},
    }  # fmt: skip
    return Complexity(**{**own, **fields})  # type: ignore[arg-type]


def row(model: str = "a", **fields: object) -> Row:
    own: dict[str, object] = {
        "status": "ok", "fingerprint": "f", "version": "1", "parameters": 60_000, "family": "resnet",
        "complexity": complexity(), "reinitialised": (complexity(1.25), complexity(2.0)),
        "shuffled": (complexity(1.0),),
        "layers": (LayerRow("w", (3, 4), complexity(), {"sign": 1.5, "qubd": (1.0, 2.0)}, {}),),
        "settings": {"seeds": 2, "measures": {"planes": 2}}, "warnings": ("mind",), "stages": {"open": 0.5},
    }  # fmt: skip
    return Row(model, **{**own, **fields})  # type: ignore[arg-type]


def test_ratios_and_their_spread() -> None:
    ratio = row().ratio("sign")
    assert ratio is not None
    assert (ratio.values, ratio.mean, ratio.low, ratio.high) == ((0.8, 0.5), 0.65, 0.5, 0.8)
    shuffled = row().ratio("matrix", "shuffled")
    assert shuffled is not None
    assert shuffled.values == (1.0,)
    qubd = row().ratio("qubd")
    assert qubd is not None
    assert qubd.values == pytest.approx((30 / 32.5, 30 / 40))
    first, second = row().plane_ratios()
    assert first.values == (0.8, 0.5)
    assert second.values == (1.0, 1.0)


def test_the_range_that_the_ratio_can_take() -> None:
    found = row().sign_ratio_range
    assert found is not None
    low, high = complexity().sign_range
    assert found == (pytest.approx(low / 162.5), pytest.approx(high / 162.5))
    assert low < 50 < 100_000 < high


def test_what_was_not_measured_has_no_ratio() -> None:
    failed = Row("a", "failed", "f", "1", error="gone")
    none = row(complexity=complexity(sign=None, qubd=None))
    for each in (failed, none):
        assert each.ratio("sign") is None
        assert each.plane_ratios() == ()
    assert failed.sign_ratio_range is None
    assert none.ratio("matrix") is not None


def test_a_row_survives_its_file(tmp_path: Path) -> None:
    for each in (row("org/a@b"), row("../x/y.safetensors"), Row("gone", "failed", "f", "1", error="why")):
        write_row(tmp_path, each)
        assert read_row(row_path(tmp_path, each.model)) == each
    assert [each.model for each in read_rows(tmp_path)] == ["../x/y.safetensors", "gone", "org/a@b"]
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "rows"}


def test_names_that_look_alike_have_rows_of_their_own(tmp_path: Path) -> None:
    names = ["a/b", "b", "c/b", "B", "b/", ".b", "x" * 300, "x" * 301, "ü/b", "a:b"]
    assert len({row_path(tmp_path, name).name.lower() for name in names}) == len(names)


def test_infinity_is_no_json(tmp_path: Path) -> None:
    write_row(tmp_path, row(complexity=complexity(l2=float("inf"))))
    assert json.loads(row_path(tmp_path, "a").read_text())["complexity"]["l2"] is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 1}', '{"layers": [1]}', "\x00", "[" * 100_000])
def test_a_damaged_row_is_told_by_its_path(content: str, tmp_path: Path) -> None:
    path = tmp_path / "rows" / "a.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(MomosError, match=r"a\.json: not a row of a study.*delete it"):
        read_rows(tmp_path)


def test_no_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(MomosError, match="no rows of a study; run 'momos-compress study"):
        read_rows(tmp_path)


def test_the_fingerprint_follows_all_that_figures_depend_on() -> None:
    base = ("m", "r", {"seeds": 3, "measures": {"planes": 8}}, "1")
    others = [
        ("n", *base[1:]), (base[0], None, *base[2:]), (*base[:2], {"seeds": 4, "measures": {"planes": 8}}, "1"),
        (*base[:2], {"seeds": 3, "measures": {"planes": 7}}, "1"), (*base[:3], "2"),
    ]  # fmt: skip
    marks = {fingerprint(*each) for each in [base, *others]}  # type: ignore[arg-type]
    assert len(marks) == 6
    assert fingerprint("m", "r", {"measures": {"planes": 8}, "seeds": 3}, "1") == fingerprint(*base)  # type: ignore[arg-type]


def test_columns_are_the_same_for_every_row() -> None:
    flat = flat_records(
        [row(), Row("gone", "failed", "f", "1", error="why"), row("small", complexity=complexity(qubd=None))]
    )
    assert flat[0].keys() == flat[1].keys() == flat[2].keys()
    first = flat[0]
    for measure in default_measures():
        ratio = row().ratio(measure)
        assert ratio is not None
        assert (first[f"{measure}_ratio"], first[f"{measure}_ratio_low"], first[f"{measure}_ratio_high"]) == (
            ratio.mean, ratio.low, ratio.high,
        )  # fmt: skip
        assert first[f"{measure}_shuffled_ratio"] == 1
    assert (first["qubd_plane_1_ratio"], first["qubd_plane_2_ratio"]) == (0.65, 1)
    assert (first["lzma_sign_rate"], first["lzma_raw_rate"]) == (0.8, None)
    assert (flat[1]["status"], flat[1]["error"], flat[1]["sign_ratio"]) == ("failed", "why", None)
    assert flat[2]["qubd_ratio"] is flat[2]["qubd_plane_1_ratio"] is None
