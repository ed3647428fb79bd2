import builtins
import re
import types

import pytest

from momos_compress.fitting import faiss_library
from momos_compress.fitting.faiss_library import backend, clustering_device


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (2, "cuda")])
def test_a_gpu_is_used_only_where_faiss_sees_one(gpus: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.SimpleNamespace(get_num_gpus=lambda: gpus, __version__="1.2")
    monkeypatch.setattr(faiss_library, "load_faiss", lambda: fake)
    assert clustering_device("cuda") == device
    assert clustering_device("cpu") == "cpu"
    assert backend("cuda") == {"faiss": "1.2", "gpus": gpus, "used_gpu": device == "cuda"}


def test_without_faiss_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_library, "load_faiss", lambda: None)
    assert clustering_device("cuda") == "cpu"
    assert backend("cuda") == {"faiss": None, "gpus": 0, "used_gpu": False}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), "not installed"),
        (ImportError("libcublas.so.12: cannot open shared object file"), r"cannot be loaded \(libcublas"),
    ],
)
def test_a_faiss_that_is_missing_or_broken_is_told(
    error: ImportError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name == "faiss":
            raise error
        return real(name, *rest)  # type: ignore[arg-type]

    assert faiss_library.faiss_problem() is None
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert faiss_library.load_faiss() is None
    assert re.search(message, faiss_library.faiss_problem() or "")
