"""The connected components of a bipartite graph."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from momos_compress.measures.bipartite import sparse


def label_components(pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Number the connected components.

    Args:
        pattern: (m, n) bool.

    Returns:
        Component of each row, (m,) int32, and of each column, (n,) int32, and how many there are.
    """
    rows, columns = (np.zeros(side, dtype=np.int32) for side in pattern.shape)
    row_places, column_places, count = np.arange(len(rows)), np.arange(len(columns)), 0
    # A list of many edges takes more memory than the pattern: there the component of the row with the most edges is
    # found by spreading over the pattern itself, and the search goes on in what is left.
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
