import numpy as np
import pytest

from momos_compress import MomosError
from momos_compress.fitting import kmeans as motifs_module
from momos_compress.fitting.kmeans import FITS, default_method, distinct_blocks, fit, sample_size, seed_motifs
from momos_compress.fitting.nearest import NearestMotif

METHODS = sorted(FITS)


def mixture(n: int, s: int, seed: int = 0) -> np.ndarray:
    """Blocks of layers with deviations from 0.01 to 1, as real checkpoints have them."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, s)) * 10 ** rng.uniform(-2, 0, size=(n, 1))).astype(np.float32)


def distortion(blocks: np.ndarray, motifs: np.ndarray) -> float:
    return float(np.square(blocks - motifs[NearestMotif(motifs)(blocks)], dtype=np.float64).sum())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 2, 3, 256, 257])
@pytest.mark.parametrize("s", [1, 4, 64])
def test_every_method_gives_k_motifs_with_zero_first(method: str, k: int, s: int) -> None:
    motifs = fit(mixture(600, s), k, method=method, seed=0)
    assert motifs.shape == (k, s)
    assert motifs.dtype == np.float32
    assert not motifs[0].any()
    assert np.isfinite(motifs).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_the_same_motifs_and_another_seed_others(method: str) -> None:
    blocks = mixture(3000, 4)
    first, again, other = (fit(blocks, 50, method=method, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", ["faiss", "sklearn"])
def test_k_means_beats_the_random_draw_and_plain_faiss(method: str) -> None:
    import faiss

    blocks = mixture(20_000, 4)
    ours = distortion(blocks, fit(blocks, 200, method=method, seed=0))
    drawn = distortion(blocks, fit(blocks, 200, method="random", seed=0))
    plain = faiss.Kmeans(4, 200, niter=25, seed=1)
    plain.train(blocks)
    assert ours < 0.5 * drawn
    assert ours < 0.95 * distortion(blocks, plain.centroids)


def test_seeding_is_sparser_where_blocks_are_dense() -> None:
    blocks = np.concatenate([0.01 * mixture(9000, 4, 1), mixture(1000, 4, 2)])
    seeds = seed_motifs(blocks, 500, seed=0, device="cpu")
    dense = {row.tobytes() for row in blocks[:9000]}
    share = np.mean([row.tobytes() in dense for row in seeds])
    assert 0.02 < share < 0.6  # a uniform draw takes 0.9 of them there
    assert len({row.tobytes() for row in seeds}) == 500


@pytest.mark.parametrize("method", ["faiss", "sklearn"])
def test_fewer_distinct_blocks_than_motifs_are_kept_exactly(method: str) -> None:
    blocks = np.repeat(mixture(10, 4), 50, axis=0)
    motifs = fit(blocks, 64, method=method, seed=0)
    assert len(motifs) == 11
    assert distortion(blocks, motifs) == 0


def test_a_constant_or_all_zero_tensor_is_no_trouble() -> None:
    assert fit(np.zeros((100, 4), np.float32), 10, seed=0).tolist() == [[0, 0, 0, 0]]
    constant = fit(np.full((100, 4), 0.5, np.float32), 10, seed=0)
    assert constant.tolist() == [[0] * 4, [0.5] * 4]


def test_without_the_zero_motif_all_k_are_fitted() -> None:
    motifs = fit(mixture(5000, 4), 16, seed=0, zero_motif=False)
    assert len(motifs) == 16
    assert motifs.any(axis=1).all()


def test_distinct_blocks_counts_both_zeros_as_one() -> None:
    blocks = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 3.0]], dtype=np.float32)
    found = distinct_blocks(blocks, 2)
    assert found is not None
    assert len(found) == 2
    assert distinct_blocks(blocks, 1) is None


def test_the_sample_is_bounded_below_and_by_the_blocks() -> None:
    assert sample_size(67_084, 670) == 67_084
    assert sample_size(6_375_728, 63_757) == 32 * 63_757
    assert sample_size(10**8, 16) == 2**18


def test_an_unknown_method_lists_the_choices() -> None:
    with pytest.raises(MomosError, match="choose from faiss, hessian, random, sklearn"):
        fit(mixture(10, 4), 2, method="kmeans", seed=0)


def test_without_faiss_sklearn_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motifs_module, "load_faiss", lambda: None)
    assert default_method() == "sklearn"
    with pytest.raises(MomosError, match="--method sklearn"):
        fit(mixture(100, 4), 5, method="faiss", seed=0)


def test_k_means_is_asked_to_run_on_the_gpu_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    asked: dict[str, object] = {}

    class Recorder(faiss.Kmeans):  # type: ignore[misc]
        def __init__(self, d: int, k: int, **options: object) -> None:
            asked.update(options)
            super().__init__(d, k, **{**options, "gpu": False})

    monkeypatch.setattr(faiss, "Kmeans", Recorder)
    monkeypatch.setattr(motifs_module, "faiss_on_gpu", lambda module: True)
    monkeypatch.setattr(motifs_module, "seed_motifs", lambda blocks, k, **options: blocks[:k])
    fit(mixture(1000, 4), 10, method="faiss", seed=0, device="cuda")
    assert asked["gpu"] is True
