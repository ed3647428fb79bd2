"""Time and peak memory of each stage of a run."""

import contextlib
import ctypes
import functools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Stage:
    """What one stage took.

    Attributes:
        name: The stage.
        seconds: Wall-clock time.
        peak_memory_bytes: Peak resident memory of the process while it ran.
        peak_gpu_bytes: Peak memory that torch allocated on the GPU while it ran; 0 without one.
    """

    name: str
    seconds: float
    peak_memory_bytes: int
    peak_gpu_bytes: int = 0


def peak_memory_bytes() -> int:
    """Peak resident memory of the process: on Linux since the last reset, elsewhere since the process began."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows has no such module; its peak is given as 0
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # only Linux can reset it
        _CLEAR.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


@functools.cache
def _trim() -> Any:
    """The C library's function that gives freed memory back; None where it has none."""
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):
        return None


def give_memory_back() -> None:
    """Let the system have what was freed: glibc keeps it, in pieces that later tensors do not fit into."""
    trim = _trim()
    if trim is not None:
        trim(ctypes.c_size_t(0))


class Stages:
    """Collects stages in the order they run.

    Attributes:
        done: The stages that have ended without an error.
    """

    def __init__(self) -> None:
        self.done: list[Stage] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as the stage ``name``."""
        give_memory_back()
        _reset_peak()
        start = time.perf_counter()
        yield
        gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        self.done.append(Stage(name, time.perf_counter() - start, peak_memory_bytes(), gpu))

    @property
    def seconds(self) -> float:
        """Time of all stages together."""
        return sum(stage.seconds for stage in self.done)

    @property
    def peak_memory_bytes(self) -> int:
        """The highest peak of any stage."""
        return max((stage.peak_memory_bytes for stage in self.done), default=0)
