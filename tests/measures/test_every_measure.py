"""What every measure of the table keeps: the contract of ``momos_compress.measures.registry``."""

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from momos_compress import MomosError
from momos_compress.measures.complexity import Complexity
from momos_compress.measures.one_pass import measure
from momos_compress.measures.registry import (
    MEASURES,
    BlockEntropy,
    Figure,
    Measure,
    chosen_measures,
    default_measures,
    measure_named,
    register_measure,
)
from momos_compress.measures.settings import MeasureSettings
from momos_compress.measures.tensor_view import TensorView
from momos_compress.study.flat_rows import flat_records
from momos_compress.study.model import Job, study_model
from momos_compress.study.row_files import read_row, row_path, write_row
from momos_compress.study.settings import StudySettings

NAMES = tuple(MEASURES)
STATE: Mapping[str, torch.Size | tuple[int, ...]] = {
    "conv.weight": (40, 16, 5, 5), "conv.bias": (40,), "narrow": (3, 50), "linear.weight": (130, 71), "scale": (),
}  # fmt: skip


def network(seed: int) -> dict[str, torch.Tensor]:
    """Random weights without a zero, in shapes that fill no window exactly."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator) for name, shape in STATE.items()}
    assert all(tensor.all() for tensor in state.values())
    return state


def total(name: str, state: Mapping[str, torch.Tensor]) -> Complexity:
    return measure(state.items(), MeasureSettings(planes=3, rates="none", also=(name,))).total


def parts(figure: Figure | None) -> tuple[float, ...]:
    assert figure is not None
    return figure if isinstance(figure, tuple) else (figure,)


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_a_measure(name: str) -> None:
    each = measure_named(name)
    assert each.label.strip()
    assert each.unit.strip()
    assert each.axis.strip()
    assert each.panel is None or each.panel.strip()
    if each.entropy is not None:
        assert each.entropy.label.strip()
        assert each.entropy.axis_label.strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_deterministic_and_one_for_each_plane(name: str) -> None:
    once, again = (total(name, network(0)) for _ in range(2))
    assert once == again
    assert hash(once) == hash(again)
    assert len(parts(once.figure(name))) == (3 if measure_named(name).per_plane else 1)
    assert all(part > 0 for part in parts(once.figure(name)))


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_tensors_matters_only_where_it_may(name: str) -> None:
    state = network(1)
    forth, back = total(name, state), total(name, dict(reversed(state.items())))
    same = parts(forth.figure(name)) == pytest.approx(parts(back.figure(name)), rel=1e-12)
    assert same is not measure_named(name).ordered
    entropy = f"{name}_entropy"
    if forth.figure(entropy) is not None and not measure_named(name).ordered:
        assert parts(forth.figure(entropy)) == pytest.approx(parts(back.figure(entropy)), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_figure_follows_from_its_tensors(name: str) -> None:
    found = measure(network(2).items(), MeasureSettings(planes=3, rates="none", also=(name,)))
    if measure_named(name).network == "summed":
        own = [parts(figure) for layer in found.layers if (figure := layer.complexity.figure(name)) is not None]
        assert len(own) > 1
        assert parts(found.total.figure(name)) == pytest.approx([sum(each) for each in zip(*own, strict=True)])
    else:  # of one tensor, pooling does nothing
        single = measure(list(network(2).items())[:1], MeasureSettings(planes=3, rates="none", also=(name,)))
        assert single.total.figure(name) == single.layers[0].complexity.figure(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [3072, 4 * 3072])
def test_the_cut_into_chunks_does_not_matter(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = total(name, network(3))
    for room in ("bits", "planes", "one_pass"):
        monkeypatch.setattr(f"momos_compress.measures.{room}.CHUNK", chunk)
    assert parts(total(name, network(3)).figure(name)) == pytest.approx(parts(whole.figure(name)), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_measure_has_no_figure(name: str) -> None:
    for state in ({}, {"scalar": torch.ones(())}, {"empty": torch.ones(0)}):
        assert total(name, state).figure(name) is None
        assert total(name, state).value(name) is None


@pytest.mark.parametrize("name", NAMES)
def test_negatives_have_the_same_figure_where_it_is_claimed(name: str) -> None:
    if measure_named(name).complement_invariant:
        state = network(4)
        negative = total(name, {key: -tensor for key, tensor in state.items()})
        assert parts(negative.figure(name)) == pytest.approx(parts(total(name, state).figure(name)), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_lies_in_its_possible_range(name: str) -> None:
    possible = measure_named(name).possible
    if possible is not None:
        for state in (network(5), {"same": torch.ones(50, 100)}):
            found = total(name, state)
            low, high = possible(found.weights)
            value = found.value(name)
            assert value is not None
            assert low * (1 - 1e-12) <= value <= high * (1 + 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_two_seeds_are_about_as_complex_and_a_constant_one_is_simpler(name: str) -> None:
    first, second = (total(name, network(seed)).value(name) for seed in (6, 7))
    constant = total(name, {key: torch.ones_like(tensor) for key, tensor in network(6).items()}).value(name)
    assert first is not None
    assert second is not None
    assert constant is not None
    assert first / second == pytest.approx(1, abs=0.02)
    assert constant < 0.2 * first


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_layout_and_a_wider_dtype_do_not_matter(name: str, dtype: torch.dtype) -> None:
    state = {key: tensor.bfloat16().float() for key, tensor in network(8).items()}
    other = {key: tensor.to(dtype) for key, tensor in state.items()}
    other["linear.weight"] = other["linear.weight"].T.contiguous().T
    assert total(name, other).figure(name) == total(name, state).figure(name)


# The table


def test_the_present_measures_and_which_of_them_are_taken_unasked() -> None:
    assert NAMES == ("sign", "windowed", "matrix", "qubd", "lz")
    assert default_measures() == NAMES[:4]
    assert tuple(chosen_measures(("lz", "sign"))) == NAMES
    with pytest.raises(MomosError, match=r"^unknown measure 'zip'; choose from sign, windowed, matrix, qubd, lz$"):
        measure([], MeasureSettings(also=("zip",)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sign", "'sign' is taken"),
        ("sparsity", "'sparsity' is taken"),
        ("a-b", "'a-b' is no name of a measure; it must be an identifier"),
        ("sign_entropy", "'sign_entropy' is no name of a measure"),
    ],
)
def test_a_name_that_clashes_is_refused(name: str, message: str) -> None:
    before = dict(MEASURES)
    with pytest.raises(ValueError, match=message):
        register_measure(name, measure_named("sign"))
    assert before == MEASURES


POSITIVE = Measure(
    label="positive weights",
    unit="weights",
    axis_label="positive",
    panel="positive",
    count=lambda view: int((view.weights > 0).sum()),
    figure=float,
    network="pooled",
    default=True,
    entropy=BlockEntropy("entropy, halves", "entropy of halves", lambda count: 1.0),
)


@pytest.fixture
def positive() -> Iterator[str]:
    """A measure of the tests: how many weights are positive."""
    register_measure("positive", POSITIVE)
    yield "positive"
    del MEASURES["positive"]


def test_a_registered_measure_is_studied_and_reported(positive: str, tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the extra 'report' is not installed")
    from momos_compress.report.write import write_report

    settings = StudySettings(seeds=2, measures=MeasureSettings(planes=2, rates="none"))
    for seed in range(3):
        save_file(network(seed), tmp_path / f"net{seed}.safetensors")
        row = study_model(str(tmp_path / f"net{seed}.safetensors"), Job(settings))
        own = sum(int((tensor > 0).sum()) for tensor in network(seed).values())
        assert row.complexity is not None
        assert row.complexity.value(positive) == own
        assert row.settings["measures"]["also"] == ["positive"]  # so that rows without it are measured again
        ratio = row.ratio("positive")
        assert ratio is not None
        assert ratio.values == tuple(own / copy.others["positive"] for copy in row.reinitialised)  # type: ignore[operator]
        write_row(tmp_path, row)
        assert read_row(row_path(tmp_path, row.model)) == row
        record = json.loads(row_path(tmp_path, row.model).read_text())
        assert record["complexity"]["positive"] == own
        assert "others" not in record["complexity"]
        assert record["complexity"]["positive_entropy"] == 1
        assert set(record["layers"][0]["shuffled"]) >= {"positive"}
    assert flat_records([row])[0]["positive"] == own
    written = write_report(tmp_path, measure=positive)
    with written.csv.open(newline="") as file:
        records = list(csv.DictReader(file))
    assert float(records[-1]["positive"]) == own
    assert float(records[-1]["positive_ratio"]) == ratio.mean
    page = written.page.read_text()
    assert '<input type="radio" name="measure" value="positive" autocomplete="off" checked> positive weights' in page
    for head in ("positive weights ratio", "positive weights ratio, shuffled", "entropy of halves, bits"):
        assert f'<button type="button">{head}</button>' in page
    assert "Complexity ratio of 3 models: positive weights" in page
    assert "(weights / weights)" in page
    assert "Complexity ratio of 3 models: positive weights" in (written.page.parent / "figure2.svg").read_text()


def test_a_measure_that_was_not_asked_for_leaves_no_trace(tmp_path: Path) -> None:
    save_file(network(0), tmp_path / "net.safetensors")
    settings = StudySettings(seeds=1, measures=MeasureSettings(planes=2, rates="none"))
    plain = study_model(str(tmp_path / "net.safetensors"), Job(settings))
    asked = dataclasses.replace(settings, measures=dataclasses.replace(settings.measures, also=("lz", "sign")))
    also = study_model(str(tmp_path / "net.safetensors"), Job(asked))
    assert plain.fingerprint != also.fingerprint
    assert "also" not in plain.settings["measures"]
    assert also.settings["measures"]["also"] == ["lz"]
    assert not any(key.startswith("lz_") for key in flat_records([plain])[0])
    assert [record["lz_ratio"] is None for record in flat_records([plain, also])] == [True, False]
    assert plain.complexity == dataclasses.replace(also.complexity, others={})  # type: ignore[type-var]


def test_what_several_measures_need_is_made_once() -> None:
    made = []

    def count(view: TensorView) -> int:
        made.append(view)
        return 1

    first = dataclasses.replace(POSITIVE, count=count, network="summed", entropy=None)
    register_measure("first", first)
    register_measure("second", dataclasses.replace(first, network="pooled"))
    try:
        found = measure(network(0).items(), MeasureSettings(rates="none")).total
    finally:
        del MEASURES["first"], MEASURES["second"]
    assert len(made) == len(STATE)
    assert found.others == {"first": len(STATE), "second": len(STATE)}
