"""Real checkpoints: figures that hold for weights somebody trained. Skipped where the data are absent."""

from pathlib import Path

import pytest
import timm
import torch
from conftest import memory_checkpoint, minilm_directory, shared
from safetensors.torch import load_file as load_safetensors

from momos_compress import Settings, compress, evaluate, load_file, load_model, open_checkpoint
from momos_compress.measures.bdm import sign_bdm
from momos_compress.networks.load import model_of

SENTENCES = [
    "A motif is reused in many places of the network.",
    "The cat sleeps on the warm windowsill.",
    "Interest rates rose for the third time this year.",
    "How do I reset the password of my account?",
    "The ship left the harbour before sunrise.",
    "Compression keeps what matters and drops the rest.",
    "She plays the violin in a small orchestra.",
    "Rain is expected in the north until Thursday.",
]


def test_the_published_resnet20_fits_the_zoos_architecture() -> None:
    weights = load_safetensors(shared("resnet20_cifar10.safetensors"))
    model = timm.create_model("cifar_resnet20")
    assert {n for n, _ in model.named_parameters()} <= set(weights)
    assert set(model.state_dict()) - set(weights) == {
        n for n in model.state_dict() if n.endswith("num_batches_tracked")
    }
    assert set(weights) <= set(model.state_dict())
    model.load_state_dict(weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "top1"), [("resnet20_cifar10.safetensors", 81.03), ("resnet20_cifar10_jpeg.safetensors", 88.39)]
)
def test_resnet20_reaches_its_accuracy(file: str, top1: float) -> None:
    accuracy = evaluate(model_of(open_checkpoint(str(shared(file)))), str(shared("cifar10-test.tar")))
    assert accuracy.images == 10_000
    assert accuracy.top1 == pytest.approx(top1, abs=0.02)  # the order of float sums may turn an image or two


@pytest.mark.slow
def test_resnet20_compresses_and_our_motifs_beat_the_papers(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(shared("resnet20_cifar10_jpeg.safetensors")))
    data = str(shared("cifar10-test.tar"))
    reports = {
        name: compress(checkpoint, settings, tmp_path / f"{name}.momos.safetensors", data=data)
        for name, settings in {
            "fitted": Settings(c=0.01),
            "free": Settings(c=0.01, calibrate="none"),
            "paper": Settings(c=0.01, protocol="paper"),
        }.items()
    }
    fitted, free, paper = reports["fitted"], reports["free"], reports["paper"]
    assert [report.accuracy_before for report in reports.values()] == pytest.approx([88.39] * 3, abs=0.02)
    # Seeds move them by one (fitted), ten (free) and three points.
    assert fitted.accuracy_after is not None
    assert free.accuracy_after is not None
    assert paper.accuracy_after is not None
    assert fitted.accuracy_after > 86 > 82 > free.accuracy_after > 55 > 20 > paper.accuracy_after
    assert fitted.ratio > free.ratio > paper.ratio > 9
    assert free.relative_distortion < 0.07 < 0.12 < paper.relative_distortion


def test_resnet20_is_simpler_than_its_random_copy_and_its_shuffled_self() -> None:
    checkpoint = open_checkpoint(str(shared("resnet20_cifar10.safetensors")))
    assert checkpoint.parameters is not None
    weights = [checkpoint.read(name) for name in checkpoint.parameters]
    generator = torch.Generator().manual_seed(0)
    gaussian = [torch.randn(w.shape, generator=generator) * w.std(correction=0) for w in weights]
    shuffled = [w.reshape(-1)[torch.randperm(w.numel(), generator=generator)] for w in weights]
    assert sign_bdm(weights) / sign_bdm(gaussian) == pytest.approx(0.905, abs=0.005)
    assert sign_bdm(weights) / sign_bdm(shuffled) == pytest.approx(0.910, abs=0.005)


def test_minilm_saturates_the_measure() -> None:
    checkpoint = open_checkpoint(str(minilm_directory()))
    assert checkpoint.architecture is not None
    assert checkpoint.architecture.name == "BertModel"
    assert checkpoint.parameters is not None
    assert sum(checkpoint.read(name).numel() for name in checkpoint.parameters) == 22_713_216
    weights = [checkpoint.read(name) for name in checkpoint.parameters]
    generator = torch.Generator().manual_seed(0)
    ratio = sign_bdm(weights) / sign_bdm(torch.randn(w.shape, generator=generator) for w in weights)
    assert ratio == pytest.approx(0.99985, abs=0.0003)


@pytest.mark.slow
def test_minilm_embeds_alike_after_compression(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = str(minilm_directory())
    path = tmp_path / "minilm.momos.safetensors"
    checkpoint = open_checkpoint(source)
    report = compress(checkpoint, Settings(k=16_384, calibrate="none"), path)
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokens = tokenizer(SENTENCES, padding=True, return_tensors="pt")

    def embed(model: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    original, compressed = embed(model_of(checkpoint)), embed(load_model(path))
    cosine = (original * compressed).sum(1)
    assert report.ratio > 8.5
    assert report.relative_distortion < 0.05
    # Cosine alone would pass a wrong scale; the weights themselves are within the reported distortion.
    decoded = load_file(path)
    name = "encoder.layer.0.attention.self.query.weight"
    error = (decoded[name] - checkpoint.read(name)).square().sum() / checkpoint.read(name).square().sum()
    assert float(error) < 0.1
    assert float(cosine.mean()) > 0.9
    assert float((original[0] * compressed[1]).sum()) < 0.5  # another sentence stays another


@pytest.mark.slow
def test_a_checkpoint_of_many_tensors_in_bfloat16(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {f"layer{i}.weight": torch.randn(256, 257, generator=generator).bfloat16() for i in range(200)}
    report = compress(memory_checkpoint(state), Settings(k=256), tmp_path / "x.momos.safetensors")
    assert report.blocks == 200 * 256 * 65  # rows are filled up to whole blocks
    assert report.ratio > 7.5
