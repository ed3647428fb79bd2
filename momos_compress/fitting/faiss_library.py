"""FAISS, where it is installed: whether it loads, what it lacks, and where it runs."""

from typing import Any


def load_faiss() -> Any | None:
    """The faiss module, or None where it is not installed or cannot be loaded."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def faiss_problem() -> str | None:
    """Why FAISS is not used, with the remedy; None where it loads."""
    try:
        import faiss  # noqa: F401
    except ModuleNotFoundError:
        return "FAISS is not installed (pip install faiss-cpu, or faiss-gpu on Linux): scikit-learn finds the motifs"
    except ImportError as error:
        reason = str(error).splitlines()[0]
        return f"FAISS is installed and cannot be loaded ({reason}): scikit-learn finds the motifs, more slowly"
    return None


def faiss_on_gpu(faiss: Any) -> bool:
    """Whether this FAISS was built with GPU support and sees a GPU."""
    return _gpus(faiss) > 0


def clustering_device(device: str) -> str:
    """Where FAISS can run: "cuda" where ``device`` is that and FAISS sees a GPU, else "cpu".

    FAISS may be built without the GPU support that torch has.
    """
    faiss = load_faiss()
    return "cuda" if device == "cuda" and faiss is not None and faiss_on_gpu(faiss) else "cpu"


def backend(device: str) -> dict[str, Any]:
    """FAISS and the GPU, for a report.

    Returns:
        ``faiss``: its version or None; ``gpus``: how many it sees; ``used_gpu``: whether it runs on one for ``device``.
    """
    faiss = load_faiss()
    if faiss is None:
        return {"faiss": None, "gpus": 0, "used_gpu": False}
    return {"faiss": faiss.__version__, "gpus": _gpus(faiss), "used_gpu": clustering_device(device) == "cuda"}


def _gpus(faiss: Any) -> int:
    return int(getattr(faiss, "get_num_gpus", lambda: 0)())
