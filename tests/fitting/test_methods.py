"""What every fitting method keeps to: each entry of the table, and one that a user registers."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import distortion, mixture
from conftest import memory_checkpoint

from momos_compress import MomosError, Settings, compress, load_file, open_checkpoint
from momos_compress.calibration.run import fit_calibrated
from momos_compress.fitting.methods import METHODS, Method, default_method, get_method, register_method
from momos_compress.fitting.motifs import fit_motifs

ALONE = sorted(name for name, method in METHODS.items() if not method.reads_network)
TRAINED = [name for name in ALONE if not METHODS[name].draws]
WITH_NETWORK = sorted(name for name, method in METHODS.items() if method.reads_network)
WORSE_THAN_DRAWN = 1.02
"""The factor by which a method's distortion may exceed that of motifs drawn at random."""


def found(blocks: np.ndarray, k: int, method: str, seed: int = 0) -> np.ndarray:
    """The motifs of a method called by itself, as the protocol has it."""
    motifs: np.ndarray = METHODS[method].load()(blocks, k, seed=seed, device="cpu")
    return motifs


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize("method", ALONE)
@pytest.mark.parametrize("k", [1, 2, 3, 256, 257, 600])
@pytest.mark.parametrize("s", [1, 4, 64])
def test_a_method_finds_k_finite_motifs_up_to_the_number_of_blocks(method: str, k: int, s: int) -> None:
    motifs = found(mixture(600, s), k, method)
    assert motifs.shape == (k, s)
    assert motifs.dtype == np.float32
    assert np.isfinite(motifs).all()


@pytest.mark.parametrize("method", ALONE)
@pytest.mark.parametrize("k", [1, 2, 3, 256, 257, 600])
@pytest.mark.parametrize("s", [1, 4, 64])
def test_the_zero_motif_comes_first_where_it_is_forced(method: str, k: int, s: int) -> None:
    motifs = fit_motifs(mixture(600, s), k, method=method, seed=0)
    assert motifs.shape == (k, s)
    assert not motifs[0].any()
    assert np.isfinite(motifs).all()


@pytest.mark.parametrize("method", ALONE)
def test_a_seed_gives_the_same_bytes_and_another_seed_others(method: str) -> None:
    blocks = mixture(3000, 4)
    first, again, other = (found(blocks, 50, method, seed) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", ALONE)
def test_a_method_takes_the_largest_seed(method: str) -> None:
    assert len(found(mixture(50, 4), 5, method, 2**63 - 1)) == 5


@pytest.mark.parametrize("method", ALONE)
def test_a_method_leaves_its_blocks_as_they_were(method: str) -> None:
    blocks = mixture(3000, 4)
    found(blocks, 50, method)
    assert np.array_equal(blocks, mixture(3000, 4))


@pytest.mark.parametrize("method", ALONE)
@pytest.mark.parametrize("k", [3, 50, 1000])
def test_a_method_is_not_worse_than_the_random_draw(method: str, k: int) -> None:
    blocks = mixture(6000, 4)
    drawn = distortion(blocks, found(blocks, k, "random"))
    assert distortion(blocks, found(blocks, k, method)) <= WORSE_THAN_DRAWN * drawn


@pytest.mark.parametrize("method", TRAINED)
def test_fewer_distinct_blocks_than_motifs_are_kept_exactly(method: str) -> None:
    blocks = np.repeat(mixture(10, 4), 50, axis=0)
    motifs = fit_motifs(blocks, 64, method=method, seed=0)
    assert len(motifs) == 11
    assert distortion(blocks, motifs) == 0


@pytest.mark.parametrize("method", ALONE)
def test_many_duplicates_are_no_trouble(method: str) -> None:
    blocks = np.concatenate([np.repeat(mixture(3, 4), 200, axis=0), mixture(40, 4, seed=1)])
    motifs = found(blocks, 20, method)
    assert motifs.shape == (20, 4)
    assert np.isfinite(motifs).all()


@pytest.mark.parametrize("method", [name for name in ALONE if METHODS[name].draws])
def test_a_method_that_draws_takes_blocks_as_they_are_and_none_twice(method: str) -> None:
    blocks = mixture(600, 4)
    motifs = found(blocks, 257, method)
    known = {row.tobytes() for row in blocks}
    assert {row.tobytes() for row in motifs} <= known
    assert len({row.tobytes() for row in motifs}) == 257


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("method", WITH_NETWORK)
def test_a_method_that_reads_a_network_is_reached_by_the_pipeline(method: str, tmp_path: Path) -> None:
    path = tmp_path / "x.momos.safetensors"
    settings = Settings(k=20, method=method, calibrate="digits", samples=16, bdm=False)
    report = compress(open_checkpoint("digits"), settings, path)
    assert (report.method, report.calibration) == (method, "16 images of digits")
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())


@pytest.mark.parametrize("method", WITH_NETWORK)
def test_a_method_that_reads_a_network_does_not_fit_blocks_alone(method: str) -> None:
    with pytest.raises(MomosError, match=f"method '{method}' fits motifs to a network's outputs"):
        fit_motifs(mixture(10, 4), 2, method=method, seed=0)


@pytest.mark.usefixtures("registered")
def test_a_registered_method_fits_the_motifs_of_a_file(tmp_path: Path) -> None:
    def first_blocks(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
        return blocks[:k]

    register_method("first", Method(first_blocks, draws=True))
    path = tmp_path / "x.momos.safetensors"
    report = compress(open_checkpoint("digits"), Settings(k=20, method="first", bdm=False), path)
    assert report.method == "first"
    assert report.sampled_blocks == 19


@pytest.mark.usefixtures("registered", "one_thread")
def test_a_registered_method_that_reads_a_network_gets_it_and_its_inputs(tmp_path: Path) -> None:
    seen: list[Any] = []

    def spy(checkpoint: Any, work: Any, model: Any, data: Any, **rest: Any) -> Any:
        seen.extend((type(model).__name__, data.samples, sorted(rest)))
        return fit_calibrated(checkpoint, work, model, data, **rest)

    register_method("spy", Method(spy, reads_network=True))
    settings = Settings(k=20, method="spy", calibrate="digits", samples=16, bdm=False)
    report = compress(open_checkpoint("digits"), settings, tmp_path / "x.momos.safetensors")
    assert report.method == "spy"
    assert seen == ["CifarResNet", 16, ["spool_directory", "stages", "tell"]]


@pytest.mark.usefixtures("registered")
def test_a_registered_method_that_reads_a_network_needs_inputs(tmp_path: Path) -> None:
    register_method("spy", Method("no:module", reads_network=True))
    with pytest.raises(MomosError, match=r"`method='spy'` needs calibration inputs"):
        compress(open_checkpoint("digits"), Settings(method="spy", calibrate="none"), tmp_path / "x")


def test_a_name_that_is_taken_raises() -> None:
    with pytest.raises(ValueError, match="fitting method 'random' is registered already"):
        register_method("random", METHODS["faiss"])
    assert METHODS["random"].draws


def test_an_unknown_method_lists_the_choices(tmp_path: Path) -> None:
    message = r"unknown method 'kmeans'; choose from faiss, hessian, random, sklearn"
    with pytest.raises(MomosError, match=message):
        get_method("kmeans")
    with pytest.raises(MomosError, match=message):
        fit_motifs(mixture(10, 4), 2, method="kmeans", seed=0)
    with pytest.raises(MomosError, match=message):
        compress(memory_checkpoint({}), Settings(method="kmeans"), tmp_path / "x")


def test_the_default_is_a_method_for_weights_alone() -> None:
    assert not METHODS[default_method()].reads_network


def test_listing_the_methods_imports_nothing_heavy() -> None:
    code = (
        "import sys; from momos_compress.fitting.methods import METHODS; "
        "print(len(METHODS), [name for name in ('torch', 'numpy', 'faiss', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [str(len(METHODS)), "[]\n"]
