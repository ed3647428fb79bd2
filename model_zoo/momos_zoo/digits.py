"""The embedded demo: scikit-learn's handwritten digits, and a network that this project trained on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset

SPLIT_SEED = 0
"""Decides which images are for testing."""

TEST_SHARE = 0.25
"""Share of the images that is for testing."""


class Digits(Dataset[tuple[Image.Image, int]]):
    """1,797 one-channel 8 x 8 images of ten classes, split once into 1,347 for training and 450 for testing.

    Items are (PIL image in mode "L", class); the sixteen grey levels are spread over 0..255.
    """

    def __init__(self, split: Literal["train", "test"]) -> None:
        digits = load_digits()
        parts = train_test_split(
            digits.images, digits.target, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=digits.target
        )
        images, targets = (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])
        self.images = np.rint(images * (255 / 16)).astype(np.uint8)
        self.targets = [int(t) for t in targets]
        self.transform: Callable[[Any], Any] | None = None  # timm's create_loader sets it

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def weights_path() -> Path:
    """The trained weights, a safetensors file inside the package; made by ``train_digits.py``."""
    return Path(__file__).with_name("digits.safetensors")
