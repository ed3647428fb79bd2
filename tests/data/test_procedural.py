"""Procedural images and noise."""

import numpy as np
import pytest
import torch

from momos_compress.data.procedural import coloured_noise, natural_images


def falling_power(image: np.ndarray) -> float:
    """The power that the amplitude of a square channel falls with, by least squares over rings of frequencies."""
    side = len(image)
    spectrum = np.abs(np.fft.fft2(image - image.mean())) ** 2
    distance = np.hypot(*np.meshgrid(np.fft.fftfreq(side) * side, np.fft.fftfreq(side) * side))
    rings = np.arange(2, side // 3)
    energy = [spectrum[(distance >= r - 0.5) & (distance < r + 0.5)].mean() for r in rings]
    return -np.polyfit(np.log(rings), np.log(energy), 1)[0] / 2


@pytest.mark.parametrize("power", [0.0, 1.0, 1.6])
def test_noise_falls_with_the_power_asked_for(power: float) -> None:
    noise = coloured_noise((3, 64, 64), power, np.random.default_rng(0))
    assert noise.shape == (3, 64, 64)
    assert np.allclose(noise.mean(axis=(1, 2)), 0, atol=1e-9)
    assert np.allclose(noise.std(axis=(1, 2)), 1)
    assert np.mean([falling_power(channel) for channel in noise]) == pytest.approx(power, abs=0.15)


def test_images_have_the_spectrum_of_photographs_and_channels_that_are_alike() -> None:
    images = natural_images(12, (3, 48, 48), seed=0)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert 0.7 < np.mean([falling_power(image[0].numpy()) for image in images]) < 1.5
    channels = images.transpose(0, 1).reshape(3, -1)
    assert float(torch.corrcoef(channels)[0, 1]) > 0.6
    assert 0.15 < float(images.std()) < 0.35


def test_an_image_depends_on_its_number_and_the_seed_alone() -> None:
    some, more = natural_images(2, (3, 16, 20), seed=4), natural_images(3, (3, 16, 20), seed=4)
    assert torch.equal(some, more[:2])
    assert not torch.equal(more[0], more[1])
    assert not torch.equal(some, natural_images(2, (3, 16, 20), seed=5))


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 5, 9), (3, 1, 1), (3, 33, 2)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    images = natural_images(3, shape, seed=0)
    assert images.shape == (3, *shape)
    assert bool(torch.isfinite(images).all())
