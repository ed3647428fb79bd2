"""A connected bipartite graph: its degrees, and the products with its matrices that the solvers take.

B is the 0/1 biadjacency matrix (m, n), and A the adjacency matrix of all m + n vertices, rows first. Where most of B is
ones, its zeros are listed instead of its edges.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from momos_compress.mosaic.blocks import CHUNK_VALUES

Vector = np.ndarray
"""One float64 for each vertex, rows first: (m + n,)."""


def sparse(pattern: np.ndarray) -> csr_array:
    """A pattern (m, n) bool as a sparse float64 matrix; made in strips, as NumPy lists places at 16 bytes each."""
    m, n = pattern.shape
    strip = max(1, CHUNK_VALUES // max(1, n))
    parts = [np.nonzero(pattern[start : start + strip])[1].astype(np.int32) for start in range(0, m, strip)]
    indices = np.concatenate([np.empty(0, dtype=np.int32), *parts])
    ends = np.concatenate([[0], np.cumsum(pattern.sum(axis=1))]).astype(np.int32)
    return csr_array((np.ones(len(indices)), indices, ends), shape=(m, n))


@dataclass(frozen=True, eq=False)
class Graph:
    """A connected bipartite graph with at least one edge.

    Attributes:
        pattern: B, (m, n) bool, whose rows are the smaller side.
    """

    pattern: np.ndarray

    @classmethod
    def of(cls, pattern: np.ndarray) -> "Graph":
        """Make a graph of a pattern, which is transposed where it has more rows than columns."""
        return cls(pattern if len(pattern) <= pattern.shape[1] else pattern.T)

    @property
    def m(self) -> int:
        """Rows."""
        return len(self.pattern)

    @property
    def n(self) -> int:
        """Columns."""
        return int(self.pattern.shape[1])

    @cached_property
    def degrees(self) -> Vector:
        """Edges of each vertex."""
        return np.concatenate([self.pattern.sum(axis=1), self.pattern.sum(axis=0)]).astype(np.float64)

    @cached_property
    def edges(self) -> int:
        """Ones of the pattern."""
        return int(self.degrees.sum()) // 2

    @cached_property
    def mostly_edges(self) -> bool:
        """Whether there are more edges than zeros."""
        return 2 * self.edges > self.pattern.size

    @cached_property
    def listed(self) -> tuple[csr_array, csr_array]:
        """The edges, or the zeros where those are fewer: (m, n), and transposed."""
        fewer = sparse(~self.pattern if self.mostly_edges else self.pattern)
        return fewer, fewer.T

    def neighbours(self, x: Vector) -> Vector:
        """A x."""
        listed, transposed = self.listed
        rows, columns = x[: self.m], x[self.m :]
        sums = np.concatenate([listed @ columns, transposed @ rows])
        if self.mostly_edges:
            sums = np.concatenate([np.full(self.m, columns.sum()), np.full(self.n, rows.sum())]) - sums
        return np.asarray(sums)

    def gram(self) -> np.ndarray:
        """B B^T (m, m) float64. Its entries are counts, so that float32 sums them exactly up to 2^24 columns."""
        listed, transposed = self.listed
        if listed.nnz * 32 <= self.pattern.size:
            gram = (listed @ transposed).toarray()
            if self.mostly_edges:  # (1 - C)(1 - C)^T, where C are the zeros
                zeros = self.n - self.degrees[: self.m]
                gram += self.n - zeros[:, None] - zeros
            return np.asarray(gram)
        gram = np.zeros((self.m, self.m))
        for start in range(0, self.n, step := max(1, CHUNK_VALUES // self.m)):
            part = self.pattern[:, start : start + step].astype(np.float32)
            gram += part @ part.T
        return gram

    def laplacian(self) -> np.ndarray:
        """L = D - A, (m + n, m + n) float64."""
        matrix = np.diag(self.degrees)
        matrix[: self.m, self.m :] -= self.pattern
        matrix[self.m :, : self.m] -= self.pattern.T
        return matrix
