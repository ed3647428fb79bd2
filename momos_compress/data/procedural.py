"""Procedural images with the statistics of natural ones, for image networks that no images were given for.

Dead leaves: discs, ellipses and rectangles of power-law sizes that cover one another (Lee, Mumford, Huang 2001), each
with a texture of coloured noise whose spectrum falls as a power of the frequency. Networks trained on such images alone
learn features that serve on photographs (Baradad et al., arXiv 2106.05963).
"""

import math

import numpy as np
import torch

LEAVES = 256
"""Leaves of an image over its background, at most; a third of the images have none and are mere texture, the others
any number."""
SMALLEST, LARGEST = 0.02, 0.6
"""Radii of leaves over the image's shorter side."""
SIZE_POWER = 3.0
"""The density of radii falls with this power: the one that makes dead leaves independent of scale."""
SPECTRUM = (0.7, 1.6)
"""Powers that an image's noise falls with, per frequency of amplitude; photographs lie around 1."""
TEXTURE = (0.02, 0.25)
"""Standard deviation of the noise on a leaf, in the range 0..1 of an image."""
CHROMA = 0.35
"""Standard deviation of a channel's own part of a colour over that of all channels' common part."""
SPREAD = 0.27
"""Standard deviation of the common part of a colour, in the range 0..1 of an image."""


def natural_images(count: int, shape: tuple[int, int, int], *, seed: int) -> torch.Tensor:
    """Draw procedural images.

    Args:
        count: How many.
        shape: (channels, height, width) of one.
        seed: Decides all of them; the first images do not depend on ``count``.

    Returns:
        (count, channels, height, width) float32 in 0..1.
    """
    return torch.stack([_image(shape, np.random.default_rng((seed, number))) for number in range(count)])


def _image(shape: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
    noise = coloured_noise(shape, rng.uniform(*SPECTRUM), rng)
    image = _colour(shape[0], rng) + rng.uniform(*TEXTURE) * noise
    for radius in _radii(int(LEAVES * max(0, rng.uniform(-0.5, 1))), min(shape[1:]), rng):
        _cover(image, noise, radius, rng)
    return torch.from_numpy(image.clip(0, 1).astype(np.float32))


def coloured_noise(shape: tuple[int, ...], power: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls as a power of the frequency.

    Args:
        shape: (channels, ...); every channel is noise of its own over the other dimensions, mixed with a common one.
        power: The power; 0 is white.
        rng: Draws it.

    Returns:
        Float64 of the shape, of mean 0 and standard deviation 1 in each channel.
    """
    size = shape[1:]
    frequencies = [np.fft.fftfreq(length) * length for length in size[:-1]] + [np.fft.rfftfreq(size[-1]) * size[-1]]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*frequencies, indexing="ij")))
    amplitude = np.where(distance > 0, np.maximum(distance, 1) ** -power, 0)
    axes = tuple(range(1, len(shape)))
    white = CHROMA * rng.standard_normal(shape) + rng.standard_normal((1, *size))
    noise = np.fft.irfftn(np.fft.rfftn(white, axes=axes) * amplitude, s=size, axes=axes)
    deviation: np.ndarray = noise / np.maximum(noise.std(axis=axes, keepdims=True), 1e-12)
    return deviation


def _colour(channels: int, rng: np.random.Generator) -> np.ndarray:
    """A colour (channels, 1, 1) whose channels are alike for the most part."""
    return (0.45 + SPREAD * (rng.standard_normal() + CHROMA * rng.standard_normal((channels, 1, 1)))).clip(0, 1)


def _radii(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Radii of leaves in pixels, from the inverse of their distribution function."""
    power = 1 - SIZE_POWER
    ends = SMALLEST**power, LARGEST**power
    radii: np.ndarray = side * (ends[0] + rng.random(count) * (ends[1] - ends[0])) ** (1 / power)
    return radii


def _cover(image: np.ndarray, noise: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    """Lay one leaf over an image (channels, height, width), in place."""
    height, width = image.shape[1:]
    y, x, angle = rng.random() * height, rng.random() * width, rng.random() * math.pi
    long, short = radius * rng.uniform(1, 1.8), radius * rng.uniform(0.4, 1)
    top, bottom = max(0, int(y - long)), min(height, int(y + long) + 1)
    left, right = max(0, int(x - long)), min(width, int(x + long) + 1)
    rows, columns = np.ogrid[top:bottom, left:right]
    rows, columns = rows - y, columns - x
    along = (math.cos(angle) * columns + math.sin(angle) * rows) / long
    across = (math.cos(angle) * rows - math.sin(angle) * columns) / short
    rectangle = rng.random() < 1 / 3
    inside = np.maximum(abs(along), abs(across)) < 0.7 if rectangle else along**2 + across**2 < 1
    # The noise of another place, so that a texture does not go on under its leaf's edge.
    down, over = rng.integers(height - bottom + top + 1), rng.integers(width - right + left + 1)
    texture = noise[:, down : down + bottom - top, over : over + right - left]
    leaf = _colour(len(image), rng) + rng.uniform(*TEXTURE) * texture
    np.copyto(image[:, top:bottom, left:right], leaf, where=inside)
