"""CTM tables: the algorithmic complexity of small binary objects, read from pybdm's data files.

pybdm itself is not imported, as version 0.1.0 asks for ``pkg_resources``, which current setuptools no longer has. Its
tables are compressed pickles of dictionaries, which an unpickler reads that builds nothing else.
"""

import collections
import gzip
import importlib.metadata
import math
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from momos_compress.errors import MomosError

STRING_LENGTH = 12
"""Bits of a string."""
MATRIX_SIDE = 4
"""Rows and columns of a matrix."""
_ALLOWED = {
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "dict"): dict,
}


class _DictionariesOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a CTM table") from None


def table_path(dataset: str) -> Path:
    """The path of pybdm's installed data file of a dataset, "ctm-b2-d12" or "ctm-b2-d4x4"."""
    try:
        path = importlib.metadata.distribution("pybdm").locate_file(f"pybdm/ctmdata/{dataset}.pkl.gz")
    except importlib.metadata.PackageNotFoundError as error:
        raise MomosError("the CTM tables come with pybdm, which is not installed; pip install pybdm") from error
    return Path(str(path))


def read_table(path: Path) -> dict[tuple[int, ...], dict[str, float]]:
    """Read a CTM data file as shape -> string of symbols -> complexity in bits; MomosError for any other content."""
    try:
        with gzip.open(path) as file:
            table = _DictionariesOnly(file).load()
        return {tuple(shape): {str(k): float(v) for k, v in values.items()} for shape, values in table.items()}
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, TypeError, ValueError) as error:
        raise MomosError(f"{path}: not a CTM table ({error}); reinstall pybdm") from error


@cache
def string_complexities() -> np.ndarray:
    """CTM of each 12-bit string (dataset CTM-B2-D12), in which a string and its complement share one value.

    Returns:
        (4096,) float64 bits, indexed by the string as a number, first bit highest.
    """
    return _complexities("ctm-b2-d12", (STRING_LENGTH,))


@cache
def matrix_complexities() -> np.ndarray:
    """CTM of each binary 4 x 4 matrix (dataset CTM-B2-D4x4), in which complements share one value.

    The dataset is complete, so that no value has to be imputed.

    Returns:
        (65536,) float64 bits, indexed by the rows as one number, the first row's first bit highest.
    """
    return _complexities("ctm-b2-d4x4", (MATRIX_SIDE, MATRIX_SIDE))


def _complexities(dataset: str, shape: tuple[int, ...]) -> np.ndarray:
    half = 2 ** (math.prod(shape) - 1)
    values = np.full(2 * half, np.nan)
    for key, bits in read_table(table_path(dataset)).get(shape, {}).items():
        values[int(key, 2)] = bits
    values[half:] = values[half - 1 :: -1]
    if np.isnan(values).any():
        raise MomosError(f"pybdm's table {dataset} is incomplete; reinstall pybdm")
    values.setflags(write=False)
    return values
