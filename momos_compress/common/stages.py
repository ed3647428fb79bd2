"""Time and peak memory of each stage of a run."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Stage:
    """What one stage took. peak_memory_bytes: the process's peak resident memory while it ran."""

    name: str
    seconds: float
    peak_memory_bytes: int
    peak_gpu_bytes: int = 0


def peak_memory_bytes() -> int:
    """Peak resident memory since the last reset (Linux), or since the process began."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows has no such module; the memory is not told there
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is that of the whole run so far
        _CLEAR.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


class Stages:
    """Collects stages in the order they run."""

    def __init__(self) -> None:
        self.done: list[Stage] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under ``name``."""
        _reset_peak()
        start = time.perf_counter()
        yield
        gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        self.done.append(Stage(name, time.perf_counter() - start, peak_memory_bytes(), gpu))

    @property
    def seconds(self) -> float:
        """Sum over all stages."""
        return sum(stage.seconds for stage in self.done)

    @property
    def peak_memory_bytes(self) -> int:
        """The highest peak of any stage."""
        return max((stage.peak_memory_bytes for stage in self.done), default=0)
