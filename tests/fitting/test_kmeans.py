import numpy as np
import pytest
from blocks import distortion, mixture

from momos_compress import MomosError
from momos_compress.fitting import kmeans as kmeans_module
from momos_compress.fitting import methods as methods_module
from momos_compress.fitting.kmeans import seed_motifs
from momos_compress.fitting.methods import default_method
from momos_compress.fitting.motifs import fit_motifs


@pytest.mark.parametrize("method", ["faiss", "sklearn"])
def test_k_means_beats_the_random_draw_and_plain_faiss(method: str) -> None:
    import faiss

    blocks = mixture(20_000, 4)
    ours = distortion(blocks, fit_motifs(blocks, 200, method=method, seed=0))
    drawn = distortion(blocks, fit_motifs(blocks, 200, method="random", seed=0))
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


def test_without_faiss_sklearn_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods_module, "load_faiss", lambda: None)
    monkeypatch.setattr(kmeans_module, "load_faiss", lambda: None)
    assert default_method() == "sklearn"
    with pytest.raises(MomosError, match="use `method='sklearn'`"):
        fit_motifs(mixture(100, 4), 5, method="faiss", seed=0)


def test_k_means_is_asked_to_run_on_the_gpu_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    asked: dict[str, object] = {}

    class Recorder(faiss.Kmeans):  # type: ignore[misc]
        def __init__(self, d: int, k: int, **options: object) -> None:
            asked.update(options)
            super().__init__(d, k, **{**options, "gpu": False})

    monkeypatch.setattr(faiss, "Kmeans", Recorder)
    monkeypatch.setattr(kmeans_module, "faiss_on_gpu", lambda module: True)
    monkeypatch.setattr(kmeans_module, "seed_motifs", lambda blocks, k, **options: blocks[:k])
    fit_motifs(mixture(1000, 4), 10, method="faiss", seed=0, device="cuda")
    assert asked["gpu"] is True
