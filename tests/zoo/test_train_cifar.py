"""The training of the small CIFAR-10 networks, on a few generated images."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from momos_compress import open_checkpoint
from momos_compress.networks.load import model_of
from momos_zoo import train_cifar, training_data
from momos_zoo.train_cifar import LABEL_SMOOTHING, RECIPES, load, main, smoothed_loss

ARCHITECTURES = sorted(RECIPES)


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()  # the command sets them for its process
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("images"), 12)


def generate(root: Path, count: int) -> Path:
    """An image folder of two classes in turn; no two images are alike."""
    random = np.random.default_rng(0)
    for index in range(count):
        path = root / "ab"[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return root


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_file_knows_its_network_and_is_not_the_initialiser_s(
    architecture: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    words = [architecture, "--data", str(folder), "-o", str(out), "--epochs", "1"]
    main(words)
    assert capsys.readouterr().out.startswith("epoch 1/1: held-out loss ")
    checkpoint = open_checkpoint(str(out))
    found = checkpoint.architecture
    assert found is not None
    assert found.name == architecture
    assert found.preprocessing["input_size"] == (3, 32, 32)
    assert found.preprocessing["mean"] == (0.485, 0.456, 0.406)
    assert found.preprocessing["std"] == (0.229, 0.224, 0.225)
    assert checkpoint.tensors.metadata["num_classes"] == "10"
    assert model_of(checkpoint)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = timm.create_model(architecture).state_dict()
    assert {info.name for info in checkpoint.tensors.infos} == set(first)
    name = {"cifar_vit": "patch_embed.proj.weight", "cifar_mobilenet": "conv_stem.weight"}[architecture]
    assert not torch.equal(checkpoint.read(name), first[name])
    assert checkpoint.read(name).isfinite().all()
    before = out.read_bytes()
    main(words)
    assert out.read_bytes() == before
    main([*words, "--seed", "1"])
    assert out.read_bytes() != before


def test_an_interrupted_training_leaves_the_epoch_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["cifar_mobilenet", "--data", str(folder), "-o", str(tmp_path / "out.safetensors"), "--epochs", "2"]
    measured = iter([(0.0, 0.0)])

    def measure(*_: object) -> tuple[float, float]:
        try:
            return next(measured)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(train_cifar, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        main(words)
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]
    assert '"epoch": 1, ' in open_checkpoint(str(tmp_path / "out.safetensors")).tensors.metadata["training"]


def test_all_images_are_trained_on_but_those_the_runs_hold_out(tmp_path: Path) -> None:
    data = str(generate(tmp_path / "more", 40))
    train, held_out = load(data, "cifar_vit")
    assert (len(train.targets), len(held_out.targets)) == (38, 2)
    assert len({image.numpy().tobytes() for image in (*train.pixels, *held_out.pixels)}) == 40
    _, of_the_runs = training_data.load("cifar10", data, 10)
    assert torch.equal(held_out.pixels, of_the_runs.pixels)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_tenth_of_each_label_is_spread_over_the_classes(bfloat16: bool) -> None:
    model = timm.create_model("cifar_vit").eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 3, 9, 3])
    log_p = model(images).log_softmax(dim=1)
    expected = -((1 - LABEL_SMOOTHING) * log_p[range(4), targets] + LABEL_SMOOTHING * log_p.mean(dim=1)).mean()
    loss = smoothed_loss(model, images, targets, bfloat16=bfloat16)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-2 if bfloat16 else 1e-5, atol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet9", "--data", "x"], r"invalid choice: 'resnet9'.*cifar_vit"),
        (["cifar_vit"], "required: --data"),
        (["cifar_vit", "--data", "no.tar"], r"^error: no image folder or tar 'no\.tar'"),
        (["cifar_vit", "--data", "digits"], r"^error: image \d+: \[8, 8, 1\] of class \d does not fit cifar_vit"),
        (["cifar_vit", "--data", "digits", "--epochs", "0"], "--epochs must be at least 1"),
        (["cifar_vit", "--data", "digits", "--seed", "-1"], "--seed must be at least 0"),
        (["cifar_vit", "--data", "digits", "--threads", "0"], "--threads must be at least 1"),
        (["cifar_vit", "--data", "digits", "-o", "out.pth"], r"-o 'out\.pth' must end in \.safetensors"),
        (["cifar_vit", "--data", "digits", "-o", "no/out.safetensors"], r"^error: the directory 'no' does not exist"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main([*words, *([] if "-o" in words else ["-o", "out.safetensors"])])
    assert left.value.code == 2
    *usage, line = capsys.readouterr().err.splitlines()
    assert not usage or usage[0].startswith("usage: ")
    assert re.search(message, line)
    assert not list(tmp_path.iterdir())


def test_too_few_images_to_hold_any_out_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(generate(tmp_path / "few", 9))
    with pytest.raises(SystemExit):
        main(["cifar_vit", "--data", data, "-o", str(tmp_path / "out.safetensors")])
    assert capsys.readouterr().err == f"error: {data}: 9 images are too few to hold out 5% of them\n"
