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
from scipy.sparse.linalg import ArpackError
from threadpoolctl import threadpool_limits

from momos_compress.errors import MomosError, one_line
from momos_compress.measures.incomplete import PatternFigures, incomplete_figures
from momos_compress.mosaic.blocks import CHUNK_VALUES, check_block_size, count_blocks

MAX_PATTERN = 2**30
"""Values of the largest pattern held in memory, at one byte each."""
MAX_EDGES = 2**25
"""Edges, or zeros where those are fewer, that the solvers take: 12 bytes each, and some 0.1 s for a product."""


@dataclass(frozen=True)
class LayerTopology:
    """The non-zero pattern of one layer as a bipartite graph.

    What was not computed is None, and ``note`` says why. Both spectral figures are good to a relative 1e-6, or where
    they are tiny to 1e-12 of sigma_1, and of the largest degree.

    Attributes:
        name: The parameter's name.
        shape: Its shape.
        edges: Values that are not zero.
        density: Their share.
        spectral_gap: sigma_1 - sigma_2 of the biadjacency matrix.
        relative_spectral_gap: The gap over sigma_1.
        algebraic_connectivity: Second smallest eigenvalue of the Laplacian.
        components: Connected components, isolated vertices included.
        isolated: Vertices without an edge.
        zero_block_share: Share of the blocks that hold zeros only; None where no block size was given.
        note: Why a figure is missing, or what is to be known of one.
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
    """Measure the non-zero pattern of a weight.

    A complete or an empty pattern is told by counting, whatever its size. Another one with more than MAX_PATTERN
    values, or more than MAX_EDGES edges and as many zeros, keeps its counts and gets a note.

    Args:
        weight: (out, ...), of two or more dimensions and any dtype; NaN counts as non-zero.
        name: The parameter's name, for the result and for messages.
        s: Block size, for the share of blocks that hold zeros only.

    Raises:
        MomosError: The weight has no rows and columns, ``s`` is out of range, or an eigenvalue solver fails.
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
    """The non-zero pattern of the flattened weight in pieces of whole blocks: offset, and (values,) bool."""
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


def _figures(weight: torch.Tensor, edges: int) -> PatternFigures:
    m, n = len(weight), weight.numel() // len(weight)
    if edges == m * n:
        # K(m, n): B has rank one, and L the eigenvalues 0, m, n, m + n; K(1, 1) has 0 and 2 alone.
        gap = float(np.sqrt(m * n))
        return PatternFigures(gap, gap, 2.0 if m == n == 1 else float(min(m, n)), 1, 0)
    if not edges:
        return PatternFigures(0.0, 0.0, 0.0, m + n, m + n, "no edges")
    if m * n > MAX_PATTERN:
        note = f"too large: {m * n:,} values, and the limit of an incomplete pattern is {MAX_PATTERN:,}"
        return PatternFigures(None, None, None, None, None, note)
    flat = np.empty(m * n, dtype=bool)
    for start, part in _pieces(weight):
        flat[start : start + len(part)] = part
    pattern = flat.reshape(m, n)
    if min(edges, m * n - edges) > MAX_EDGES:
        isolated = m + n - int(np.count_nonzero(pattern.any(axis=1))) - int(np.count_nonzero(pattern.any(axis=0)))
        note = f"too large: {edges:,} edges, {m * n - edges:,} zeros, and the solvers' limit is {MAX_EDGES:,} of either"
        return PatternFigures(None, None, 0.0 if isolated else None, None, isolated, note)
    return incomplete_figures(pattern)
