"""Compression to a budget: the search alone on files that a formula gives, then whole runs on the demo."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import run_command
from torch import nn

from momos_compress import MomosError, MomosFile, Settings, open_checkpoint
from momos_compress.data.draws import CalibrationData
from momos_compress.data.registry import same_data
from momos_compress.networks.comparison import compare_outputs, gives_classes
from momos_compress.networks.fidelity import Fidelity
from momos_compress.networks.meters import Meter, output_meter
from momos_compress.search.bisection import MOST_TRIES, TRIES_ALONE, SearchSpace, search
from momos_compress.search.budget import Budget
from momos_compress.search.file_sizes import FileSizes
from momos_compress.search.settings_path import RATE_WEIGHTS, SettingsPath
from momos_compress.search.trial import Trial, preference
from momos_compress.search.within import compress_within

VALUES, REST = 10**6, 20_000
SIZES = {s: FileSizes(VALUES // s, s, REST) for s in (4, 2, 1)}


def imagined(budget: Budget, *, rate: float = 0.2, efficiency: float = 0.9) -> Callable[[int, int, float], Trial]:
    """Files of VALUES weights: entropy falls with the rate weight, the drop as high-rate theory has it."""

    def attempt(s: int, k: int, weight: float) -> Trial:
        bits = max(0.05, efficiency * math.log2(k) - rate * s * math.log(weight)) / s
        size = int(REST + k * s + VALUES * bits / 8)
        drop = 200 * 2 ** (-2 * bits)
        most = budget.most_bytes(4 * VALUES)
        met = size <= most if most is not None else drop <= (budget.max_drop or 0)
        return Trial(s, k, weight, size, 4 * VALUES / size, drop, drop / 100, met, 0.0)

    return attempt


def run_search(
    budget: Budget, sizes: dict[int, FileSizes] = SIZES, weights: tuple[float, float] = (0.5, 3.0), **kind: float
) -> list[Trial]:
    space = SearchSpace(
        sizes=sizes,
        most_bytes=budget.most_bytes(4 * VALUES),
        first_k=lambda s: sizes[s].blocks // 100,
        rate_weights=weights,
    )
    return search(imagined(budget, **kind), budget, space)


@pytest.mark.parametrize("ratio", [2.5, 6, 10, 15, 30, 60])
@pytest.mark.parametrize(("weights", "rate"), [(RATE_WEIGHTS, 0.2), ((1.0, 1.0), 0.2), ((1.0, 1.0), 0.0)])
def test_a_size_is_met_and_not_undershot(ratio: float, weights: tuple[float, float], rate: float) -> None:
    budget = Budget(target_ratio=ratio)
    points = run_search(budget, weights=weights, rate=rate)
    best = min(points, key=preference(budget))
    assert len(points) <= MOST_TRIES
    assert best.met
    assert 0.93 * 4 * VALUES / ratio <= best.file_bytes <= 4 * VALUES / ratio


@pytest.mark.parametrize(
    ("drop", "sizes"), [(0.3, SIZES), (1.0, SIZES), (5.0, SIZES), (20.0, SIZES), (5.0, {4: SIZES[4]})]
)
def test_a_drop_is_met_with_a_small_file(drop: float, sizes: dict[int, FileSizes]) -> None:
    budget = Budget(max_drop=drop)
    points = run_search(budget, sizes)
    best = min(points, key=preference(budget))
    assert len(points) <= (MOST_TRIES if len(sizes) > 1 else TRIES_ALONE)
    assert best.met
    everything = [
        imagined(budget)(s, k, weight)
        for s in sizes
        for k in (2**bits for bits in range(1, 18))
        if k < sizes[s].most_motifs
        for weight in (0.5, 1.0, 3.0)
    ]
    assert best.file_bytes < 1.2 * min(point.file_bytes for point in everything if point.met)


def test_what_cannot_be_met_gives_the_closest() -> None:
    for budget in (Budget(target_ratio=1000.0), Budget(target_size=REST // 2), Budget(max_drop=0.0)):
        points = run_search(budget)
        assert not any(point.met for point in points)
        best = min(points, key=preference(budget))
        if budget.max_drop is None:
            assert best.file_bytes == min(point.file_bytes for point in points)
        else:
            assert best.drop == min(point.drop for point in points if point.drop is not None)


def test_no_settings_are_tried_twice() -> None:
    for budget in (Budget(target_ratio=10.0), Budget(max_drop=1.0), Budget(target_ratio=1000.0), Budget(max_drop=0.0)):
        points = run_search(budget, weights=(1.0, 1.0))
        settings = [(point.s, point.k, point.rate_weight) for point in points]
        assert len(set(settings)) == len(settings)


def test_a_path_changes_the_rate_weight_first_and_then_k() -> None:
    path = SettingsPath(1000, 5000, (0.5, 3.0))
    assert path.at(0) == (1000, 1.0)
    assert path.at(math.log(2)) == (1000, 2.0)
    assert path.at(math.log(3) + 1) == (round(1000 / math.e), 3.0)
    assert path.at(math.log(0.5) - 1) == (round(1000 * math.e), 0.5)
    assert path.at(-100) == (5000, 0.5)
    assert path.at(100) == (2, 3.0)
    fixed = SettingsPath(1000, 5000, (2.0, 2.0))
    assert [fixed.at(t) for t in (0, 1, -1)] == [(1000, 2.0), (368, 2.0), (2718, 2.0)]


def test_sizes_invert_themselves() -> None:
    sizes = SIZES[4]
    for k in (2, 100, 5000):
        assert sizes.motifs(sizes.file_bytes(k, 0.9), 0.9) == k
        assert sizes.share(k, round(sizes.file_bytes(k, 0.9))) == pytest.approx(0.9, rel=1e-3)
    assert sizes.motifs(0, 1.0) == 1


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(), "one of `target_ratio`, `target_size`, `max_drop`, not none"),
        (Budget(target_ratio=2.0, max_drop=1.0), "not `target_ratio` and `max_drop`"),
        (Budget(target_ratio=1.0), "above 1"),
        (Budget(target_size=0), "at least 1 byte"),
        (Budget(max_drop=float("nan")), "0..100"),
    ],
)
def test_a_wrong_budget_is_told(budget: Budget, message: str) -> None:
    with pytest.raises(MomosError, match=message):
        budget.check()


# What is measured


class Scores(nn.Module):
    """Class scores that are the inputs, turned round for the rows where the first input is negative."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong, self.num_classes, self.pretrained_cfg = wrong, 3, {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] < 0, -x, x) if self.wrong else x


def samples_of(inputs: torch.Tensor) -> CalibrationData:
    return CalibrationData("samples", len(inputs), (), lambda at: inputs[list(at)])


def test_agreement_counts_samples_of_the_same_class() -> None:
    inputs = torch.tensor([[1.0, 0, 0], [2.0, 3, 0], [-1.0, 2, 0], [-4.0, -5, 9]])
    meter = output_meter(Scores(False), samples_of(inputs), held_out=True, device="cpu")
    assert meter.step == 25
    assert "agreement" in meter.what
    loss = meter(Scores(True))
    assert loss.drop == pytest.approx(50)
    gap = torch.log_softmax(inputs, 1) - torch.log_softmax(Scores(True)(inputs), 1)
    assert loss.error == pytest.approx(float((inputs.softmax(1) * gap).sum(1).mean()), rel=1e-5)
    assert loss.kl == loss.error
    assert meter(Scores(False)) == Fidelity("classes", "samples", True, 4, agreement=1.0, kl=0.0)


class Tokens(nn.Module):
    """Hidden states (n, t, 2): each token's two inputs, the second of them negated where asked."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return x * torch.tensor([1.0, self.sign])


def test_without_classes_the_cosine_of_real_tokens_counts() -> None:
    angle = math.pi / 6  # negating the sine turns a vector by twice its angle
    x = torch.tensor([[[math.cos(angle), math.sin(angle)], [0.0, 5.0]]])
    batch = {"x": x, "attention_mask": torch.tensor([[1, 0]])}
    assert not gives_classes(Tokens(1.0))
    loss = compare_outputs(
        Tokens(1.0),
        Tokens(-1.0),
        [batch],
        kind="vectors",
        next_tokens=False,
        measured_on="one",
        held_out=None,
        device="cpu",
    )
    assert loss.drop == pytest.approx(100 * (1 - math.cos(2 * angle)), rel=1e-5)
    assert (loss.samples, loss.tokens, loss.kl) == (1, 1, None)
    assert loss.error == pytest.approx(1 - loss.mean_cosine)


def test_data_inside_other_data_are_the_same(tmp_path: Path) -> None:
    assert same_data("digits", "digits")
    assert not same_data("digits", str(tmp_path))
    assert same_data(str(tmp_path), str(tmp_path / "val"))
    assert same_data(str(tmp_path / "x" / ".." / "val"), str(tmp_path / "val"))
    assert not same_data(str(tmp_path / "train"), str(tmp_path / "val"))


# Whole runs


@pytest.fixture(autouse=True)
def _in_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


QUICK = ("digits", "--calibrate", "none", "--no-bdm")


def test_a_target_ratio_is_met_by_the_file_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run_command(capsys, monkeypatch, *QUICK, "--target-ratio", "12", "--json")
    found = json.loads(out)
    size = Path("digits.momos.safetensors").stat().st_size
    assert (code, err) == (0, "")
    assert found["target"] == {"ratio": 12}
    assert found["target_met"]
    assert found["file_bytes"] == size
    assert found["source_bytes"] / 12 * 0.85 <= size <= found["source_bytes"] / 12
    assert "accuracy on the 450 images of digits" in found["measured"]
    chosen = found["points"][found["chosen"]]
    assert (chosen["file_bytes"], chosen["k"], chosen["s"]) == (size, found["k_requested"], found["s"])
    assert chosen["drop"] == pytest.approx(found["accuracy_before"] - found["accuracy_after"])
    assert chosen["drop"] == min(point["drop"] for point in found["points"] if point["met"])
    assert {point["s"] for point in found["points"]} == {4, 2, 1}
    assert list(Path().iterdir()) == [Path("digits.momos.safetensors")]
    assert MomosFile("digits.momos.safetensors").recipe.s == found["s"]


def test_a_size_that_cannot_be_met_ends_with_its_own_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run_command(capsys, monkeypatch, *QUICK, "--target-size", "2KB", "--s", "8", "-o", "x.safetensors")
    assert code == 3
    assert err.startswith("warning: no file of 2,000 bytes or less was found; the smallest has ")
    assert err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["x.safetensors"]
    size = Path("x.safetensors").stat().st_size
    assert f"{size:,}" in err
    assert "rate weight" in out
    assert f"{size:,}" in out


def test_a_drop_that_is_allowed_is_measured_on_labels(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run_command(capsys, monkeypatch, *QUICK, "--max-drop", "60", "--s", "8", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["target_met"]
    met = [point for point in found["points"] if point["met"]]
    assert found["file_bytes"] == min(point["file_bytes"] for point in met)
    assert found["accuracy_before"] - found["accuracy_after"] <= 60


def test_without_labels_agreement_is_measured_on_images_held_out(tmp_path: Path) -> None:
    fits: list[str] = []
    found = compress_within(
        open_checkpoint("digits"),
        Settings(calibrate="digits", samples=8, bdm=False, exclude=("layer2*", "layer3*"), s=8),
        Budget(target_ratio=1.5),
        tmp_path / "x.momos.safetensors",
        block_sizes=(8,),
        rate_weights=(3.0, 3.0),
        progress=lambda stage, done, total: fits.append(stage),
    )
    assert found.measured is not None
    assert found.measured.startswith("agreement of top-1 with the original's on 150 held-out images of digits")
    assert found.met
    point = found.trials[found.chosen]
    assert point.drop is not None
    assert point.error is not None
    assert 0 <= point.drop <= 100
    assert point.fidelity == found.report.fidelity
    assert (point.fidelity.samples, point.fidelity.drop, point.fidelity.kl) == (150, point.drop, point.error)
    assert found.report.calibration == "8 images of digits"
    assert found.report.file_bytes == (tmp_path / "x.momos.safetensors").stat().st_size == point.file_bytes
    assert len([stage for stage in dict.fromkeys(fits) if stage.endswith(": fit")]) == len(found.trials)


def test_a_coarse_measure_is_a_warning() -> None:
    from momos_compress.search.within import _cautions

    point = Trial(4, 2, 1.0, 100, 2.0, 0.5, None, True, 0.0)
    meter = Meter("agreement", 1.0, lambda network: 0.0)
    assert _cautions(Budget(max_drop=0.5), meter, point, None) == [
        "one sample measured is worth 1.00 points, more than the drop allowed"
    ]
    assert _cautions(Budget(max_drop=2.0), meter, point, None) == []
