"""Topology: the non-zero pattern of a layer, seen as a bipartite graph.

A weight (out, ...) is flattened to (out, rest). Each row and each column is a vertex, each non-zero value an edge; B is
the 0/1 biadjacency matrix (out, rest), A the adjacency matrix of all out + rest vertices, D the diagonal of degrees.

- spectral gap: sigma_1 - sigma_2, of the two largest singular values of B, which are the two largest eigenvalues of A
  (sigma_2 = 0 where B has one row or one column only);
- algebraic connectivity: the second smallest eigenvalue of L = D - A; exactly 0 where the graph is not connected.

Source: arXiv 1706.05683, where accuracy follows these two rather than the density.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError
from threadpoolctl import threadpool_limits

from momos_compress.errors import MomosError, one_line
from momos_compress.measures.spectra import RESOLUTION, Graph, sparse
from momos_compress.mosaic.blocks import CHUNK_VALUES, check_block_size, count_blocks

MAX_PATTERN = 2**30
"""Values of the largest pattern that is held in memory, at one byte each."""
MAX_EDGES = 2**25
"""Edges, or zeros where those are fewer, that the solvers take: 12 bytes each, some 0.1 s a product."""


@dataclass(frozen=True)
class LayerTopology:
    """The non-zero pattern of one layer as a bipartite graph; the module's text defines the figures.

    components: connected components, isolated vertices included. zero_block_share: of the blocks of s values, those on
    the zero motif; None where there is no s. What was not computed is None, and ``note`` says why. Both spectral
    figures are good to a relative 1e-6, or to RESOLUTION of sigma_1 (of the largest degree) where they are tiny.
    """

    name: str
    shape: tuple[int, ...]
    edges: int
    density: float
    spectral_gap: float | None
    relative_spectral_gap: float | None
    algebraic_connectivity: float | None
    components: int | None
    isolated: int | None
    zero_block_share: float | None = None
    note: str | None = None


def layer_topology(weight: torch.Tensor, *, name: str = "", s: int | None = None) -> LayerTopology:
    """Measure a weight (out, ...) of two or more dimensions and any dtype; NaN counts as non-zero.

    s: block size; gives the share of blocks that hold zeros only. A complete or an empty pattern is told by counting,
    whatever its size. Another one with more than MAX_PATTERN values, or more than MAX_EDGES edges and as many zeros,
    keeps its counts and gets a note. Raises MomosError for a weight without rows and columns, an s out of range, or an
    eigenvalue solver that fails.
    """
    shape, size = tuple(weight.shape), weight.numel()
    if len(shape) < 2 or not size:
        raise MomosError(f"{name} {list(shape)}: a bipartite graph needs two dimensions or more, and values in them")
    if s is not None:
        check_block_size(s)
    edges, zero_blocks = _count(weight, s)
    try:
        # More threads wait for each other longer than they work, and on a shared machine a hundred times as long.
        with threadpool_limits(limits=1, user_api="blas"):
            found = _figures(weight, edges)
    except (np.linalg.LinAlgError, ArpackError) as error:
        raise MomosError(f"{name} {list(shape)}: an eigenvalue solver failed: {one_line(error)}") from error
    return LayerTopology(
        name,
        shape,
        edges,
        edges / size,
        found.gap,
        found.gap / found.sigma_1 if found.gap is not None and found.sigma_1 else None,
        found.connectivity,
        found.components,
        found.isolated,
        None if s is None else zero_blocks / count_blocks(size, s),
        found.note,
    )


def _pieces(weight: torch.Tensor, s: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """The non-zero pattern of the flattened weight: offset and (values,) bool, whole blocks of s in each piece."""
    flat = weight.detach().reshape(-1)
    step = max(1, CHUNK_VALUES // s) * s
    for start in range(0, flat.numel(), step):
        part = flat[start : start + step].cpu()
        if part.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
            part = part.float()  # they have no comparison of their own
        yield start, (part != 0).numpy()


def _count(weight: torch.Tensor, s: int | None) -> tuple[int, int]:
    """Values that are not zero, and blocks of s that hold zeros only."""
    edges = zero_blocks = 0
    for _, part in _pieces(weight, s or 1):
        edges += int(np.count_nonzero(part))
        if s is not None:
            blocks = np.pad(part, (0, -len(part) % s)).reshape(-1, s)
            zero_blocks += len(blocks) - int(np.count_nonzero(blocks.any(axis=1)))
    return edges, zero_blocks


@dataclass(frozen=True)
class _Figures:
    sigma_1: float | None
    gap: float | None
    connectivity: float | None
    components: int | None
    isolated: int | None
    note: str | None = None


def _figures(weight: torch.Tensor, edges: int) -> _Figures:
    m, n = len(weight), weight.numel() // len(weight)
    if edges == m * n:
        # K(m, n): B has rank one, and L the eigenvalues 0, m, n, m + n; K(1, 1) has 0 and 2 alone.
        gap = float(np.sqrt(m * n))
        return _Figures(gap, gap, 2.0 if m == n == 1 else float(min(m, n)), 1, 0)
    if not edges:
        return _Figures(0.0, 0.0, 0.0, m + n, m + n, "no edges")
    if m * n > MAX_PATTERN:
        note = f"too large: {m * n:,} values, and the limit of an incomplete pattern is {MAX_PATTERN:,}"
        return _Figures(None, None, None, None, None, note)
    flat = np.empty(m * n, dtype=bool)
    for start, part in _pieces(weight):
        flat[start : start + len(part)] = part
    pattern = flat.reshape(m, n)
    if min(edges, m * n - edges) > MAX_EDGES:
        isolated = m + n - int(np.count_nonzero(pattern.any(axis=1))) - int(np.count_nonzero(pattern.any(axis=0)))
        note = f"too large: {edges:,} edges, {m * n - edges:,} zeros, and the solvers' limit is {MAX_EDGES:,} of either"
        return _Figures(None, None, 0.0 if isolated else None, None, isolated, note)
    return _incomplete(pattern)


def _incomplete(pattern: np.ndarray) -> _Figures:
    """The figures of a pattern (m, n), component by component."""
    rows, columns, count = _components(pattern)
    if count > 1:  # in the components' order, each of them is a view of one copy
        by_row, by_column = np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")
        pattern, rows, columns = pattern[np.ix_(by_row, by_column)], rows[by_row], columns[by_column]
    top, left = (np.searchsorted(labels, np.arange(count + 1)) for labels in (rows, columns))
    parts = np.flatnonzero((np.diff(top) > 0) & (np.diff(left) > 0))
    isolated = count - len(parts)
    # sigma_1^2 is at most the edges, and the largest row degree times the largest column degree; few parts can win.
    by_row, by_column = pattern.sum(axis=1), pattern.sum(axis=0)
    squares = np.maximum.reduceat(by_row, top[parts]) * np.maximum.reduceat(by_column, left[parts])
    bounds = np.sqrt(np.minimum(squares, np.add.reduceat(by_row, top[parts])))
    connectivity: float | None = 0.0
    notes, sigmas = [], [0.0, 0.0]
    for place in np.argsort(-bounds, kind="stable"):
        if bounds[place] <= sigmas[1]:
            break
        i = parts[place]
        graph = Graph(pattern[top[i] : top[i + 1], left[i] : left[i + 1]])
        found = graph.singular_values()
        if count == 1:
            connectivity = graph.connectivity()
            if connectivity is None:
                notes.append(f"connectivity: {_UNSOLVED}")
            elif not connectivity:
                notes.append(f"connected by less than {RESOLUTION:g} of the largest degree")
        if found is None:
            return _Figures(None, None, connectivity, count, isolated, "; ".join([f"gap: {_UNSOLVED}", *notes]))
        sigmas = sorted([*sigmas, *found], reverse=True)[:2]
    gap = sigmas[0] - sigmas[1]
    gap = gap if gap > RESOLUTION * sigmas[0] else 0.0
    return _Figures(sigmas[0], gap, connectivity, count, isolated, "; ".join(notes) or None)


_UNSOLVED = "no solver converged within its limits of work and memory"


def _components(pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels of the rows (m,) and of the columns (n,) by connected component, and the number of components."""
    rows, columns = (np.zeros(side, dtype=np.int32) for side in pattern.shape)
    row_places, column_places, count = np.arange(len(rows)), np.arange(len(columns)), 0
    # A list of many edges costs more memory than it tells: there the largest row's component is found by spreading over
    # the pattern itself, and the search goes on in what is left.
    while 16 * np.count_nonzero(pattern) > pattern.size:
        in_row, in_column = _spread(pattern)
        rows[row_places[in_row]], columns[column_places[in_column]] = count, count
        count += 1
        row_places, column_places = row_places[~in_row], column_places[~in_column]
        pattern = pattern[np.ix_(~in_row, ~in_column)]
    m, n = pattern.shape
    edges = sparse(pattern)
    ends = np.concatenate([edges.indptr, np.full(n, edges.indptr[-1])])
    graph = csr_array((edges.data, edges.indices + np.int32(m), ends), shape=(m + n, m + n))
    found, labels = connected_components(graph, directed=False)
    rows[row_places], columns[column_places] = labels[:m] + count, labels[m:] + count
    return rows, columns, count + found


def _spread(pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The component of the row with the most edges: which rows (m,) and which columns (n,), bool."""
    in_row = np.zeros(len(pattern), dtype=bool)
    in_row[np.argmax(pattern.sum(axis=1))] = True
    while True:
        in_column = np.zeros(pattern.shape[1], dtype=bool)
        for row in np.flatnonzero(in_row):
            in_column |= pattern[row]
        reached = pattern @ in_column
        if np.array_equal(reached, in_row):
            return in_row, in_column
        in_row = reached
