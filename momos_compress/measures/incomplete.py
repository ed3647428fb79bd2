"""The spectral figures of a pattern that is neither complete nor empty, component by component."""

from dataclasses import dataclass

import numpy as np

from momos_compress.measures.bipartite import Graph
from momos_compress.measures.components import label_components
from momos_compress.measures.lanczos import RESOLUTION
from momos_compress.measures.spectra import connectivity, singular_values

_UNSOLVED = "no solver converged within its limits of work and memory"


@dataclass(frozen=True)
class PatternFigures:
    """The figures of a pattern; those that were not computed are None, and the note says why.

    Attributes:
        sigma_1: Largest singular value of B.
        gap: sigma_1 - sigma_2.
        connectivity: Second smallest eigenvalue of the Laplacian.
        components: Connected components.
        isolated: Vertices without an edge.
        note: Why a figure is missing.
    """

    sigma_1: float | None
    gap: float | None
    connectivity: float | None
    components: int | None
    isolated: int | None
    note: str | None = None


def incomplete_figures(pattern: np.ndarray) -> PatternFigures:
    """The figures of a pattern (m, n) bool that is neither complete nor empty."""
    rows, columns, count = label_components(pattern)
    graphs, bounds = _graphs(pattern, rows, columns, count)
    isolated = count - len(graphs)
    found: float | None = 0.0
    notes = []
    if count == 1:
        found = connectivity(graphs[0])
        if found is None:
            notes.append(f"connectivity: {_UNSOLVED}")
        elif not found:
            notes.append(f"connected by less than {RESOLUTION:g} of the largest degree")
    sigmas = [0.0, 0.0]
    for place in np.argsort(-bounds, kind="stable"):
        if bounds[place] <= sigmas[1]:
            break  # no other component can hold one of the two largest
        own = singular_values(graphs[place])
        if own is None:
            return PatternFigures(None, None, found, count, isolated, "; ".join([f"gap: {_UNSOLVED}", *notes]))
        sigmas = sorted([*sigmas, *own], reverse=True)[:2]
    gap = sigmas[0] - sigmas[1]
    gap = gap if gap > RESOLUTION * sigmas[0] else 0.0
    return PatternFigures(sigmas[0], gap, found, count, isolated, "; ".join(notes) or None)


def _graphs(pattern: np.ndarray, rows: np.ndarray, columns: np.ndarray, count: int) -> tuple[list[Graph], np.ndarray]:
    """The components that have edges, and an upper bound of sigma_1 of each."""
    if count > 1:  # in the components' order, each of them is a view of one copy
        by_row, by_column = np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")
        pattern, rows, columns = pattern[np.ix_(by_row, by_column)], rows[by_row], columns[by_column]
    top, left = (np.searchsorted(labels, np.arange(count + 1)) for labels in (rows, columns))
    parts = np.flatnonzero((np.diff(top) > 0) & (np.diff(left) > 0))
    # sigma_1^2 is at most the edges, and the largest row degree times the largest column degree.
    by_row, by_column = pattern.sum(axis=1), pattern.sum(axis=0)
    squares = np.maximum.reduceat(by_row, top[parts]) * np.maximum.reduceat(by_column, left[parts])
    bounds = np.sqrt(np.minimum(squares, np.add.reduceat(by_row, top[parts])))
    return [Graph.of(pattern[top[i] : top[i + 1], left[i] : left[i + 1]]) for i in parts], bounds
