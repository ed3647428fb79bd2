import types

import numpy as np
import pytest

from momos_compress import MomosError
from momos_compress.fitting import nearest as nearest_module
from momos_compress.fitting.faiss_library import load_faiss
from momos_compress.fitting.nearest import NearestMotif, choose_search


def oracle(blocks: np.ndarray, motifs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squared distance in float64, and the lowest index that has it, by brute force."""
    distances = np.square(blocks[:, None].astype(np.float64) - motifs[None].astype(np.float64)).sum(axis=2)
    return distances.min(axis=1), distances.argmin(axis=1)


def gaussian(n: int, s: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, s), dtype=np.float32)


@pytest.mark.parametrize("search", ["faiss", "kdtree"])
@pytest.mark.parametrize("s", [1, 2, 3, 4, 7, 64])
@pytest.mark.parametrize("k", [1, 2, 3, 256, 257])
def test_lowest_ties_match_brute_force_to_the_index(search: str, s: int, k: int) -> None:
    blocks, motifs = gaussian(500, s, 1), gaussian(k, s, 2)
    found = NearestMotif(motifs, ties="lowest", search=search)(blocks)
    assert found.dtype == np.int32
    assert np.array_equal(found, oracle(blocks, motifs)[1])


@pytest.mark.parametrize("search", ["faiss", "kdtree"])
@pytest.mark.parametrize("s", [1, 2, 4])
def test_ties_between_different_motifs_go_to_the_lowest_index(search: str, s: int) -> None:
    # Values on a coarse grid tie all the time, and motifs repeat.
    rng = np.random.default_rng(3)
    blocks = rng.integers(-3, 4, size=(2000, s)).astype(np.float32)
    motifs = (rng.integers(-2, 3, size=(60, s)) * 2).astype(np.float32)
    least, lowest = oracle(blocks, motifs)
    tied = (np.square(blocks[:, None] - motifs[None]).sum(axis=2) == least[:, None]).sum(axis=1) > 1
    assert tied.mean() > 0.3
    assert np.array_equal(NearestMotif(motifs, ties="lowest", search=search)(blocks), lowest)


@pytest.mark.parametrize("s", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_any_ties_have_the_least_distance_up_to_rounding(s: int, scale: float) -> None:
    blocks, motifs = gaussian(3000, s, 4) * np.float32(scale), gaussian(700, s, 5) * np.float32(scale)
    found = NearestMotif(motifs)(blocks)
    got = np.square((blocks - motifs[found]).astype(np.float64)).sum(axis=1)
    least, _ = oracle(blocks, motifs)
    norms = np.square(blocks, dtype=np.float64).sum(axis=1) + np.square(motifs, dtype=np.float64).sum(axis=1).max()
    assert np.all(got - least <= (s + 8) * np.finfo(np.float32).eps * norms)


def test_values_far_from_the_origin_are_still_resolved_exactly() -> None:
    # float32 cancels here: the spread is a millionth of the offset.
    blocks, motifs = 1000 + gaussian(300, 4, 6) * 1e-3, 1000 + gaussian(50, 4, 7) * 1e-3
    for search in ("faiss", "kdtree"):
        found = NearestMotif(motifs.astype(np.float32), ties="lowest", search=search)(blocks.astype(np.float32))
        assert np.array_equal(found, oracle(blocks.astype(np.float32), motifs.astype(np.float32))[1])


@pytest.mark.parametrize(
    ("s", "k", "ties", "expected"),
    [
        (1, 16, "any", "kdtree"),
        (2, 65_536, "any", "kdtree"),
        (4, 670, "any", "faiss"),
        (4, 63_892, "any", "kdtree"),
        (8, 31_946, "any", "faiss"),
        (4, 670, "lowest", "kdtree"),
        (16, 65_536, "lowest", "faiss"),
    ],
)
def test_the_search_is_chosen_by_measurement(s: int, k: int, ties: str, expected: str) -> None:
    assert choose_search(s, k, ties=ties, device="cpu") == expected


def fake_faiss(gpus: int, log: list[str]) -> types.SimpleNamespace:
    """FAISS as the GPU build looks from here: the index moves to GPU 0 and searches there."""
    real = load_faiss()
    assert real is not None

    def to_gpu(resources: object, gpu: int, index: object) -> object:
        log.append(f"{resources} -> {gpu}")
        return index

    return types.SimpleNamespace(
        get_num_gpus=lambda: gpus,
        IndexFlatL2=real.IndexFlatL2,
        StandardGpuResources=lambda: "resources",
        index_cpu_to_gpu=to_gpu,
    )


def test_on_a_gpu_the_index_goes_there_whatever_s(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    fake = fake_faiss(1, log)
    monkeypatch.setattr(nearest_module, "load_faiss", lambda: fake)
    search = NearestMotif(gaussian(70_000, 2, 8), device="cuda")
    assert search.kind == "faiss"
    assert log == ["resources -> 0"]


def test_a_gpu_that_faiss_does_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_faiss(0, [])
    monkeypatch.setattr(nearest_module, "load_faiss", lambda: fake)
    with pytest.raises(MomosError, match="FAISS sees no GPU; use `device='cpu'`"):
        NearestMotif(gaussian(5, 4, 10), device="cuda")


def test_without_faiss_the_tree_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_module, "load_faiss", lambda: None)
    blocks, motifs = gaussian(100, 16, 11), gaussian(9, 16, 12)
    search = NearestMotif(motifs)
    assert search.kind == "kdtree"
    assert np.array_equal(search(blocks), oracle(blocks, motifs)[1])
    with pytest.raises(MomosError, match="pip install faiss-cpu"):
        NearestMotif(motifs, search="faiss")


def test_many_ties_on_a_gpu_end_on_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    # All motifs lie on a sphere around the block, so the search must widen to all of them; FAISS's GPU index cannot.
    monkeypatch.setattr(nearest_module, "GPU_NEIGHBOURS", 8)
    fake = fake_faiss(1, [])
    monkeypatch.setattr(nearest_module, "load_faiss", lambda: fake)
    motifs = np.array(
        [[a, b, c, d] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1) for d in (-1, 1)], dtype=np.float32
    )
    search = NearestMotif(motifs, device="cuda", ties="lowest")
    assert search(np.zeros((3, 4), np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("search", ["faiss", "kdtree"])
def test_dead_blocks_do_not_widen_the_search_of_all(search: str) -> None:
    # Layers that training has killed hold weights of 1e-12 beside others of 1. Only a live block whose nearest motifs
    # are the dead ones, all equally far, has to look at every one of them.
    rng = np.random.default_rng(0)
    scale = np.where(np.arange(4000) % 2, 1.0, 1e-12).astype(np.float32)[:, None]
    blocks = rng.standard_normal((4000, 4), dtype=np.float32) * scale
    motifs = blocks[:800]
    nearest = NearestMotif(motifs, ties="lowest", search=search)
    rows: dict[int, int] = {}
    real = nearest._search

    def counted(x: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        rows[neighbours] = rows.get(neighbours, 0) + len(x)
        return real(x, neighbours)

    nearest._search = counted
    assert np.array_equal(nearest(blocks), oracle(blocks, motifs)[1])
    assert rows[2] == 4000
    assert rows.get(8, 0) < 40
