import errno
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from momos_compress.calibration.store import MatrixStore
from momos_compress.errors import MomosError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    store = MatrixStore(tmp_path)
    first, second = torch.randn(2, 3, 3), torch.randn(1, 5, 5, dtype=torch.float64)
    store["a"] = first
    store["b"] = second
    assert ("a" in store, "c" in store) == (True, False)
    assert torch.equal(store["a"], first)
    assert torch.equal(store["b"], second.float())
    store.add("a", first)
    store.add("c", second)
    assert torch.equal(store["a"], 2 * first)
    assert torch.equal(store["c"], second.float())
    store["a"] = torch.ones(2, 4, 4)  # of another size: what lies behind it stays
    assert torch.equal(store["a"], torch.ones(2, 4, 4))
    assert torch.equal(store["b"], second.float())
    store["b"] = torch.full((1, 5, 5), np.nan)
    assert bool(store["b"].isnan().all())
    assert torch.equal(store["c"], second.float())
    with pytest.raises(KeyError):
        store["d"]
    assert list(tmp_path.iterdir()) == []  # the file has no name


class FullDisk(io.BytesIO):
    """Takes what is buffered, and fails when it is to be written."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: FullDisk())
    with pytest.raises(MomosError, match=r"no room for what the fit keeps in a file .*: No space .* another `output`"):
        MatrixStore(tmp_path)["a"] = torch.zeros(1, 2, 2)
