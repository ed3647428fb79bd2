"""Topology against dense eigenvalues and closed forms; the command line on dense and compressed files."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint, run_command
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits

from momos_compress import MomosError
from momos_compress.compression.pipeline import compress
from momos_compress.container.reader import MomosFile
from momos_compress.measures import bipartite, inverses, spectra
from momos_compress.measures import topology as topology_module
from momos_compress.measures.topology import LayerTopology, layer_topology
from momos_compress.networks.topology import topology_of_checkpoint, topology_of_file
from momos_compress.settings import Settings

Array = np.ndarray


def measure(pattern: Array) -> LayerTopology:
    return layer_topology(torch.from_numpy(pattern.astype(np.float32)), name="w")


def oracle(pattern: Array) -> tuple[float, float]:
    """Gap from the adjacency matrix's own two largest eigenvalues, connectivity from the Laplacian's two smallest."""
    m, n = pattern.shape
    adjacency = np.zeros((m + n, m + n))
    adjacency[:m, m:], adjacency[m:, :m] = pattern, pattern.T
    with threadpool_limits(limits=1, user_api="blas"):
        values = np.linalg.eigvalsh(adjacency)
        laplacian = np.linalg.eigvalsh(np.diag(adjacency.sum(axis=1)) - adjacency)
    return float(values[-1] - max(values[-2], 0.0)), float(laplacian[1])


def check(pattern: Array) -> None:
    found, (gap, connectivity) = measure(pattern), oracle(pattern)
    m, n = pattern.shape
    assert found.edges == np.count_nonzero(pattern)
    assert found.density == found.edges / (m * n)
    assert found.isolated == (~pattern.any(axis=1)).sum() + (~pattern.any(axis=0)).sum()
    assert found.components is not None
    assert found.spectral_gap == pytest.approx(gap, rel=1e-6, abs=1e-11)
    assert found.algebraic_connectivity == pytest.approx(connectivity, rel=1e-6, abs=1e-11)
    assert (found.algebraic_connectivity == 0) == (found.components > 1)


def drawn(m: int, n: int, density: float, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).random((m, n)) < density)


def band(m: int, n: int, width: int) -> Array:
    return np.asarray(abs(np.arange(m)[:, None] * n / m - np.arange(n)) <= width)


def regular(n: int, degree: int, seed: int = 0) -> Array:
    rng, pattern = np.random.default_rng(seed), np.zeros((n, n), dtype=bool)
    for _ in range(degree):
        pattern[np.arange(n), rng.permutation(n)] = True
    return pattern


def circulant(n: int, offsets: list[int]) -> Array:
    pattern = np.zeros((n, n), dtype=bool)
    for offset in offsets:
        pattern[np.arange(n), (np.arange(n) + offset) % n] = True
    return pattern


def without_one(m: int, n: int) -> Array:
    pattern = np.ones((m, n), dtype=bool)
    pattern[m // 2, n // 3] = False
    return pattern


def union(*patterns: Array) -> Array:
    rows, columns = sum(len(p) for p in patterns), sum(p.shape[1] for p in patterns)
    out, i, j = np.zeros((rows, columns), dtype=bool), 0, 0
    for p in patterns:
        out[i : i + len(p), j : j + p.shape[1]] = p
        i, j = i + len(p), j + p.shape[1]
    return out


def shuffled(pattern: Array, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return pattern[rng.permutation(len(pattern))][:, rng.permutation(pattern.shape[1])]


@pytest.mark.parametrize("density", [0.01, 0.05, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("shape", [(1, 7), (9, 1), (2, 2), (5, 3), (3, 40), (40, 40), (64, 17), (120, 90)])
def test_small_patterns_match_dense_eigenvalues(shape: tuple[int, int], density: float) -> None:
    for seed in range(5):
        check(drawn(*shape, density, seed))


PATTERNS: dict[str, Callable[[], Array]] = {
    "sparse": lambda: drawn(400, 350, 0.005),
    "connected": lambda: drawn(400, 350, 0.05),
    "half": lambda: drawn(330, 400, 0.5),
    "dense": lambda: drawn(400, 330, 0.95),
    "wide": lambda: drawn(20, 900, 0.5),
    "tall": lambda: drawn(900, 20, 0.9),
    "regular": lambda: regular(400, 5),
    "band": lambda: band(400, 400, 3),
    "oblique band": lambda: shuffled(band(300, 450, 4)),
    "path": lambda: shuffled(band(400, 400, 1) & (np.tri(400, dtype=bool).T)),
    "circulant": lambda: circulant(350, [0, 1, 2]),
    "blocks": lambda: np.kron(drawn(50, 40, 0.15), np.ones((8, 8), dtype=bool)).astype(bool),
    "nearly complete": lambda: without_one(400, 300),
    "two parts": lambda: shuffled(union(drawn(250, 200, 0.3), drawn(150, 200, 0.3, 1))),
    "twin parts": lambda: shuffled(union(drawn(200, 200, 0.3), drawn(200, 200, 0.3))),
    "dense parts": lambda: shuffled(union(drawn(350, 360, 0.95), drawn(20, 20, 0.95), np.zeros((3, 2), dtype=bool))),
    "many parts": lambda: shuffled(union(*(drawn(5, 4, 0.5, seed) for seed in range(80)))),
    "one empty row": lambda: np.vstack([drawn(399, 300, 0.9), np.zeros((1, 300), dtype=bool)]),
    "hub": lambda: np.hstack([band(350, 350, 2), np.ones((350, 1), dtype=bool)]),
    "star and tail": lambda: np.vstack([np.ones((1, 350), dtype=bool), np.eye(350, dtype=bool)]),
}


@pytest.mark.parametrize("route", ["as chosen", "Lanczos", "inverse", "Schur"])
@pytest.mark.parametrize("kind", PATTERNS)
def test_every_solver_matches_dense_eigenvalues(kind: str, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if route != "as chosen":
        monkeypatch.setattr(spectra, "GRAM_SIDE", 160)
    if route in ("inverse", "Schur"):
        monkeypatch.setattr(spectra, "two_largest", lambda *arguments: None)
    if route == "Schur":
        monkeypatch.setattr(inverses, "BAND_VALUES", 0)
    check(PATTERNS[kind]())


@pytest.mark.parametrize(
    ("m", "n", "connectivity"), [(1, 1, 2), (1, 2, 1), (5, 1, 1), (2, 2, 2), (7, 12, 7), (3000, 2000, 2000)]
)
def test_a_complete_pattern_has_its_closed_form(m: int, n: int, connectivity: int) -> None:
    found = layer_topology(torch.ones(m, n), name="w")
    assert found.spectral_gap == math.sqrt(m * n)
    assert found.relative_spectral_gap == found.density == 1
    assert found.algebraic_connectivity == connectivity
    assert (found.components, found.isolated, found.note) == (1, 0, None)


def test_an_empty_pattern_is_all_isolated() -> None:
    found = layer_topology(torch.zeros(3, 2, 2), name="w", s=4)
    expected = LayerTopology("w", (3, 2, 2), 0, 0.0, 0.0, None, 0.0, 7, 7, 1.0, "no edges")
    assert found == expected


def test_two_equal_parts_have_no_gap_and_no_connectivity() -> None:
    found = measure(shuffled(union(np.ones((3, 4), dtype=bool), np.ones((3, 4), dtype=bool))))
    assert (found.spectral_gap, found.relative_spectral_gap) == (0, 0)
    assert (found.algebraic_connectivity, found.components, found.isolated) == (0, 2, 0)


@pytest.mark.parametrize("n", [3, 50, 2000])
def test_cycles_and_paths_have_their_closed_forms(n: int) -> None:
    cycle, vertices = measure(circulant(n, [0, 1])), 2 * n
    assert cycle.spectral_gap == pytest.approx(2 - 2 * math.cos(2 * math.pi / vertices), rel=1e-6)
    assert cycle.algebraic_connectivity == pytest.approx(2 - 2 * math.cos(2 * math.pi / vertices), rel=1e-6)
    path = measure(np.eye(n, dtype=bool) | np.eye(n, k=1, dtype=bool))
    gap = 2 * math.cos(math.pi / (vertices + 1)) - 2 * math.cos(2 * math.pi / (vertices + 1))
    assert path.spectral_gap == pytest.approx(gap, rel=1e-6)
    assert path.algebraic_connectivity == pytest.approx(2 - 2 * math.cos(math.pi / vertices), rel=1e-6)


def circulant_gap(first_row: Array) -> float:
    """The singular values of a circulant matrix are the moduli of its first row's Fourier transform."""
    values = np.sort(abs(np.fft.fft(first_row.astype(float))))
    return float(values[-1] - values[-2])


@pytest.mark.slow
@pytest.mark.parametrize("width", [2, 3, 16, 200, 2048, 4000])
def test_a_large_circulant_has_its_closed_form(width: int) -> None:
    pattern = circulant(4096, list(range(width)))
    found, gap = measure(pattern), circulant_gap(pattern[0])
    assert found.spectral_gap == pytest.approx(gap, rel=1e-6)
    assert found.algebraic_connectivity == pytest.approx(gap, rel=1e-6)  # d - sigma_2, as each vertex has d edges


@pytest.mark.slow
def test_a_large_random_circulant_has_its_closed_form() -> None:
    offsets = np.random.default_rng(0).choice(4096, size=12, replace=False).tolist()
    pattern = shuffled(circulant(4096, offsets))
    found, gap = measure(pattern), circulant_gap(circulant(4096, offsets)[0])
    assert found.spectral_gap == pytest.approx(gap, rel=1e-6)
    assert found.algebraic_connectivity == pytest.approx(gap, rel=1e-6)


def test_the_same_pattern_gives_the_same_figures() -> None:
    pattern = drawn(1200, 1100, 0.01)
    assert measure(pattern) == measure(pattern)
    transposed = measure(pattern.T)
    assert transposed.spectral_gap == pytest.approx(measure(pattern).spectral_gap, rel=1e-6)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_every_dtype_gives_its_own_non_zero_values(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, -0.0, float("nan")], [1.0, 0.5, 0.0]]).to(dtype)
    assert layer_topology(weight, name="w").edges == 3


def test_values_below_float32_count() -> None:
    assert layer_topology(torch.tensor([[1e-300, 0.0]], dtype=torch.float64), name="w").edges == 1


def test_a_transposed_view_and_a_convolution_are_flattened_row_major() -> None:
    weight = torch.zeros(2, 3, 2, 2)
    weight[1, 2, 0, 1] = 1
    found = layer_topology(weight.transpose(0, 1), name="w")
    assert (found.shape, found.edges, found.components, found.isolated) == ((3, 2, 2, 2), 1, 10, 9)


@pytest.mark.parametrize(("s", "share"), [(1, 0.7), (4, 1 / 3), (3, 0.25), (64, 0)])
def test_blocks_of_zeros_are_counted_over_the_padded_tensor(s: int, share: float) -> None:
    weight = torch.tensor([[0.0, 1, 0, 0, 0], [0, 0, 0, 2, 3]])
    assert layer_topology(weight, name="w", s=s).zero_block_share == pytest.approx(share)


def test_pieces_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.from_numpy(drawn(70, 41, 0.1).astype(np.float32))
    whole = layer_topology(weight, name="w", s=3)
    for module in (topology_module, bipartite, inverses):
        monkeypatch.setattr(module, "CHUNK_VALUES", 100)
    assert layer_topology(weight, name="w", s=3) == replace(
        whole,
        spectral_gap=pytest.approx(whole.spectral_gap),
        relative_spectral_gap=pytest.approx(whole.relative_spectral_gap),
        algebraic_connectivity=pytest.approx(whole.algebraic_connectivity),
    )


def test_a_pattern_over_the_limits_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.from_numpy(union(drawn(30, 30, 0.5), np.zeros((1, 0), dtype=bool)).astype(np.float32))
    monkeypatch.setattr(topology_module, "MAX_EDGES", 100)
    found = layer_topology(weight, name="w")
    assert (found.spectral_gap, found.components, found.isolated, found.algebraic_connectivity) == (None, None, 1, 0)
    assert found.note is not None
    assert "limit is 100 of either" in found.note
    monkeypatch.setattr(topology_module, "MAX_PATTERN", 100)
    found = layer_topology(weight, name="w")
    assert (found.isolated, found.algebraic_connectivity) == (None, None)
    assert found.note == "too large: 930 values, and the limit of an incomplete pattern is 100"
    assert layer_topology(torch.ones(31, 30), name="w").note is None  # complete: no limit


def test_a_search_without_an_end_is_told_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in ((inverses, ("DIRECT_SIDE", "BAND_VALUES")), (spectra, ("GRAM_SIDE", "DENSE_VERTICES"))):
        for name in names:
            monkeypatch.setattr(module, name, 0)
    found = measure(circulant(2000, [0, 1]))
    assert (found.spectral_gap, found.relative_spectral_gap, found.algebraic_connectivity) == (None, None, None)
    assert found.components == 1
    assert found.note is not None
    assert found.note.startswith("gap: no solver converged within its limits")
    assert "connectivity: no solver" in found.note


def test_a_failing_solver_names_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise np.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(spectra, "eigvalsh", fail)
    with pytest.raises(MomosError, match=r"fc\.weight \[5, 5\]: an eigenvalue solver failed: did not converge"):
        layer_topology(torch.eye(5) + torch.ones(5, 5).tril(), name="fc.weight")


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (4, 0)])
def test_a_tensor_without_rows_and_columns_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MomosError, match=rf"b \[{', '.join(map(str, shape))}\]: a bipartite graph needs"):
        layer_topology(torch.zeros(shape), name="b")


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    conv = torch.randn(8, 4, 3, 3, generator=generator)
    conv[:, 1] = 0
    return {"conv": conv, "bias": torch.ones(8), "count": torch.ones(2, 2, dtype=torch.int64), "small": torch.eye(2)}


def test_a_checkpoint_gives_its_layers_and_not_its_buffers() -> None:
    tensors = state()
    found = list(topology_of_checkpoint(memory_checkpoint(tensors | {"tied": tensors["conv"]}), s=3))
    assert [layer.name for layer in found] == ["conv", "small"]
    assert found[0].zero_block_share == 0.25
    assert found[0].isolated == 9
    found = list(topology_of_checkpoint(memory_checkpoint(tensors, buffers=frozenset({"small"}))))
    assert [(layer.name, layer.zero_block_share) for layer in found] == [("conv", None)]


def test_a_compressed_file_gives_the_share_of_its_zero_motif(tmp_path: Path) -> None:
    path = tmp_path / "x.momos.safetensors"
    compress(memory_checkpoint(state()), Settings(s=9, c=0.5, device="cpu", bdm=False), str(path))
    file = MomosFile(path)
    found = {layer.name: layer for layer in topology_of_file(file)}
    assert found.keys() == {"conv", "small"}
    blocks = file.get("conv").reshape(-1, 9)
    assert found["conv"].zero_block_share == (blocks == 0).all(dim=1).double().mean() >= 0.25
    assert found["conv"].edges == torch.count_nonzero(blocks)
    assert found["small"].zero_block_share is None  # fewer values than one block: stored as it was
    assert replace(found["small"], name="", shape=()) == replace(layer_topology(torch.eye(2)), shape=())


@pytest.fixture
def _with_topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(state(), "bare.safetensors")


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    return run_command(capsys, monkeypatch, "topology", *words)


@pytest.mark.usefixtures("_with_topology")
def test_the_command_prints_json_a_table_and_csv(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capsys, monkeypatch, "bare.safetensors", "--s", "9", "--json", "--csv", "t.csv")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["source"], record["s"]) == ("bare.safetensors", 9)
    layers = {layer["name"]: layer for layer in record["layers"]}
    assert layers["conv"]["shape"] == [8, 4, 3, 3]
    assert layers["conv"]["spectral_gap"] == pytest.approx(math.sqrt(8 * 27))
    assert layers["conv"]["zero_block_share"] == 0.25
    with Path("t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["shape"] for row in rows] == ["8x4x3x3", "2x2"]
    assert float(rows[0]["spectral_gap"]) == layers["conv"]["spectral_gap"]
    code, out, err = run(capsys, monkeypatch, "bare.safetensors")
    assert (code, err) == (0, "")
    assert "14.6969" in out
    assert "zero blocks" in out
    assert run(capsys, monkeypatch, "bare.safetensors", "--quiet") == (0, "", "")


@pytest.mark.usefixtures("_with_topology")
def test_the_command_reads_a_compressed_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compress(memory_checkpoint(state()), Settings(s=9, c=0.5, device="cpu", bdm=False), "x.momos.safetensors")
    code, out, _ = run(capsys, monkeypatch, "x.momos.safetensors", "--json")
    assert code == 0
    assert json.loads(out)["s"] == 9
    assert run(capsys, monkeypatch, "x.momos.safetensors", "--s", "9", "--quiet") == (0, "", "")
    code, _, err = run(capsys, monkeypatch, "x.momos.safetensors", "--s", "4")
    assert code == 2
    assert "--s 4 does not fit 'x.momos.safetensors', whose blocks have s = 9; leave --s out" in err


@pytest.mark.usefixtures("_with_topology")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bare.safetensors", "--s", "65"), "1..64"),
        (("bare.safetensors", "--csv", "no/t.csv"), "choose another --csv"),
        (("bare.safetensors", "--csv", "bare.safetensors"), "is the input; choose another name with --csv"),
        (("flat.safetensors",), "'flat.safetensors' has no floating-point tensor of two or more dimensions"),
    ],
)
def test_a_wrong_request_is_one_line(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"b": torch.ones(5)}, "flat.safetensors")
    code, out, err = run(capsys, monkeypatch, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
