"""Training runs, on the digits: a couple of epochs are enough for what is promised of them."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from conftest import shared
from torch import nn

from momos_compress import MomosError, open_checkpoint
from momos_compress.data.registry import open_dataset
from momos_compress.networks.load import model_of
from momos_zoo import Digits
from momos_zoo.binary import ScaledSign, build, latent_state
from momos_zoo.training_data import TASKS, Images, augment, decode, load, split
from momos_zoo.training_loop import RunSettings, checkpoint_steps, measure
from momos_zoo.training_runs import COLUMNS, is_complete, main, train_run

SHORT = ["--task", "digits", "--epochs", "2", "--images", "256", "--checkpoints", "4"]
STEPS = [0, 1, 3, 8]
SETTINGS = RunSettings("digits", "float", 0, "digits", epochs=1, images=64, checkpoints=2)


def start(out: Path, weights: str, seeds: int = 1, *more: str) -> Path:
    main([*SHORT, "--weights", weights, "--seeds", str(seeds), "--out", str(out), *more])
    return out / f"digits-{weights}-seed0"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.*") if path.is_file()}


def step_file(run: Path, step: int) -> str:
    return str(run / f"step-{step:06}.safetensors")


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()  # the command sets them for its process
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("runs")
    return {weights: start(out, weights) for weights in ("float", "binary")}


@pytest.mark.parametrize("weights", ["float", "binary"])
def test_a_run_holds_its_checkpoints_with_a_row_for_each(runs: dict[str, Path], weights: str) -> None:
    run = runs[weights]
    names = [f"step-{step:06}.safetensors" for step in STEPS]
    assert sorted(path.name for path in run.iterdir()) == ["metrics.csv", "run.json", *names]
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["step"]) for row in rows] == STEPS
    assert [float(row["epoch"]) for row in rows] == [step / 4 for step in STEPS]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    checkpoint = open_checkpoint(step_file(run, 8))
    assert checkpoint.architecture is not None
    assert checkpoint.architecture.name == "digits_resnet8"
    assert checkpoint.architecture.preprocessing["input_size"] == (1, 8, 8)


def test_the_figures_are_those_of_the_checkpoint_beside_them(runs: dict[str, Path]) -> None:
    model = model_of(open_checkpoint(step_file(runs["float"], 3)))
    _, held_out = split(1347, 256, TASKS["digits"].validation_share)
    digits = Digits("train")
    pixels = torch.from_numpy(digits.images[held_out]).float()[:, None]
    targets = torch.tensor([digits.targets[i] for i in held_out])
    with torch.inference_mode():
        logits = model((pixels / 255 - 0.305) / 0.376)
    row = (runs["float"] / "metrics.csv").read_text().splitlines()[3].split(",")
    assert float(row[4]) == pytest.approx(float(nn.functional.cross_entropy(logits, targets)), rel=1e-5)
    assert float(row[5]) == pytest.approx(100 * float((logits.argmax(1) == targets).float().mean()), abs=1e-4)


@pytest.mark.parametrize("weights", ["float", "binary"])
def test_step_0_is_the_initialiser(runs: dict[str, Path], weights: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = timm.create_model("digits_resnet8").state_dict()
    checkpoint = open_checkpoint(step_file(runs[weights], 0))
    assert {info.name for info in checkpoint.tensors.infos} == set(expected)
    assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in expected.items())


def test_the_same_command_gives_the_same_bytes(runs: dict[str, Path], tmp_path: Path) -> None:
    for weights in ("float", "binary"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(weights))  # nothing depends on the caller's random state
            run = start(tmp_path, weights, 2)
        assert contents(run) == contents(runs[weights])
        other = run.with_name(f"digits-{weights}-seed1")
        first, second = (open_checkpoint(step_file(directory, 8)) for directory in (run, other))
        assert not torch.equal(first.read("conv1.weight"), second.read("conv1.weight"))


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(runs: dict[str, Path], tmp_path: Path) -> None:
    words = [*SHORT, "--weights", "binary", "--seeds", "1", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "momos_zoo.training_runs", *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path / "digits-binary-seed0") == contents(runs["binary"])


def test_a_complete_run_stays_and_an_incomplete_one_starts_again(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(tmp_path, "float")
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    start(tmp_path, "float")
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before
    assert "1 of 1 runs are complete" in capsys.readouterr().out
    (run / "run.json").unlink()
    (run / "step-000003.safetensors").write_bytes(b"half")
    (run / "step-000005.safetensors").write_bytes(b"of another spacing")
    start(tmp_path, "float")
    assert contents(run) == contents(runs["float"])


def test_a_run_with_other_settings_is_not_mixed_up(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        start(runs["float"].parent, "float", 1, "--epochs", "3")
    assert left.value.code == 2
    assert "holds a run with other settings (epochs 2); choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"settings": 3}', "[" * 100_000, b"\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], record: str | bytes) -> None:
    run = tmp_path / "digits-float-seed0"
    run.mkdir()
    (run / "run.json").write_bytes(record.encode() if isinstance(record, str) else record)
    with pytest.raises(SystemExit):
        start(tmp_path, "float")
    assert capsys.readouterr().err == (
        f"error: {str(run / 'run.json')!r} is no record of a run; delete it to train that run again, or choose "
        "another --out\n"
    )


def test_a_record_with_a_setting_of_its_own_is_another_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"settings": asdict(SETTINGS) | {"momentum": 0.9}}))
    with pytest.raises(MomosError, match=r"holds a run with other settings \(momentum 0\.9\)"):
        is_complete(SETTINGS, tmp_path)


def test_the_record_has_the_settings_and_the_test_images(runs: dict[str, Path]) -> None:
    record = json.loads((runs["binary"] / "run.json").read_text())
    assert record["settings"]["weights"] == "binary"
    assert record["test"]["images"] == len(Digits("test"))


def test_a_binary_network_computes_with_two_values_per_channel() -> None:
    model = build("digits_resnet8", "binary", seed=0)
    plain = timm.create_model("digits_resnet8").eval()
    used = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            used[f"{name}.weight"] = module.weight.detach()
    assert len(used) == 8
    latent = latent_state(model)
    for name, weight in used.items():
        scale = latent[name].abs().flatten(1).mean(dim=1)
        for channel, value, bits in zip(weight, scale, latent[name] > 0, strict=True):
            assert channel.unique().numel() == 2
            torch.testing.assert_close(channel.abs(), value.expand_as(channel))
            assert torch.equal(channel > 0, bits)
    # The binarised weights in a plain network give the same logits: nothing else is different.
    plain.load_state_dict({**latent, **used})
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.eval()(images), plain(images))


def test_zero_is_a_zero_bit_and_the_gradient_passes_straight_through() -> None:
    weight = torch.tensor([[0.0, 2.0, -4.0], [-3.0, 0.0, 0.0]], requires_grad=True)
    binary = ScaledSign()(weight)
    assert binary.tolist() == [[-2.0, 2.0, -2.0], [-1.0, -1.0, -1.0]]
    upstream = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
    torch.autograd.backward(binary, upstream)
    assert weight.grad is not None
    assert torch.equal(weight.grad, upstream)


@pytest.mark.parametrize("task", ["digits", "cifar10"])
def test_no_image_is_both_trained_on_and_held_out(task: str) -> None:
    total = {"digits": 1347, "cifar10": 50_000}[task]
    train, held_out = split(total, TASKS[task].images, TASKS[task].validation_share)
    assert not set(train) & set(held_out)
    assert len(set(train)) == TASKS[task].images
    assert len(set(held_out)) == round(total * TASKS[task].validation_share)
    assert split(total, 10, TASKS[task].validation_share) == (train[:10], held_out)
    with pytest.raises(MomosError, match=r"--images must be 1 to \d+ here"):
        split(total, total, TASKS[task].validation_share)


def test_the_digits_that_are_trained_on_are_not_held_out_under_another_index() -> None:
    train, validation = load("digits", None, TASKS["digits"].images)
    seen = {image.numpy().tobytes() for image in train.pixels}
    assert not any(image.numpy().tobytes() in seen for image in (*validation.pixels,))


@pytest.mark.parametrize(
    ("checkpoints", "message"), [(2, r"the training loss is nan in step 3$"), (20, r"at step 2: nan")]
)
def test_a_loss_that_is_not_finite_names_its_step(tmp_path: Path, checkpoints: int, message: str) -> None:
    train, validation = load("digits", None, 64)
    # The first step is the warm-up's; the second one puts every weight out of bounds.
    settings = replace(SETTINGS, epochs=4, checkpoints=checkpoints, learning_rate=1e30)
    with pytest.raises(MomosError, match=r"^digits-float-seed0: .*" + message):
        train_run(settings, tmp_path / "run", train, validation, None)
    assert not (tmp_path / "run" / "run.json").exists()


def test_fewer_images_than_a_batch_make_one_step_an_epoch(tmp_path: Path) -> None:
    train, validation = load("digits", None, 10)
    train_run(replace(SETTINGS, epochs=2, images=10), tmp_path / "run", train, validation, None)
    assert open_checkpoint(step_file(tmp_path / "run", 2)).read("bn1.num_batches_tracked") == 2


@pytest.mark.parametrize(
    ("total", "checkpoints"), [(1, 20), (3, 20), (19, 20), (20, 20), (640, 20), (1560, 20), (9, 2)]
)
def test_checkpoints_lie_denser_early(total: int, checkpoints: int) -> None:
    steps = checkpoint_steps(total, checkpoints)
    assert steps[0] == 0
    assert steps[-1] == total
    assert len(steps) == min(checkpoints, total + 1)
    gaps = [b - a for a, b in pairwise(steps)]
    assert min(gaps) >= 1
    assert gaps[0] <= gaps[-1]


def test_augmentation_shifts_and_mirrors_whole_images() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    padded = nn.functional.pad(image, (1, 1, 1, 1))[0, 0]
    windows = [padded[y : y + 3, x : x + 3] for y in range(3) for x in range(3)]
    expected = {tuple(w.flatten().tolist()) for w in (*windows, *(w.flip(1) for w in windows))}
    out = augment(image.expand(500, 1, 3, 3), 1, True, torch.Generator().manual_seed(0))
    assert out.dtype == torch.uint8
    assert {tuple(each.flatten().tolist()) for each in out} == expected
    assert torch.equal(augment(image, 0, False, torch.Generator().manual_seed(0)), image)


def test_measuring_leaves_the_mode_and_the_statistics(tmp_path: Path) -> None:
    model = build("digits_resnet8", "float", seed=0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = Images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2]))
    measure(model, images, torch.tensor(0.305), torch.tensor(0.376))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(MomosError, match=r"image 0: \[8, 8, 1\] of class \d does not fit cifar_resnet20"):
        decode(Digits("train"), [0], "cifar_resnet20")


@pytest.mark.parametrize("words", [["--task", "cifar10"], ["--task", "digits", "--data", "x.tar"]])
def test_the_task_decides_over_the_data(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--weights", "float", "--out", str(tmp_path / "out")])
    assert "--data goes with --task cifar10" in capsys.readouterr().err


def test_cifar10_is_decoded_as_it_is_stored() -> None:
    dataset, _ = open_dataset(str(shared("cifar10-test.tar")))
    images = decode(dataset, [0, 9_999], "cifar_resnet20")
    assert images.pixels.shape == (2, 3, 32, 32)
    assert images.targets.tolist() == [0, 9]
    assert images.pixels[1, :, 5, 7].tolist() == list(dataset[9_999][0].getpixel((7, 5)))
