"""Time that a piece of work takes, on a machine that others may use too."""

import time
from collections.abc import Callable


def stopwatch() -> Callable[[], float]:
    """Time of the clock, or of the processors where that is less: what others take of the machine does not count."""
    clock, processor = time.perf_counter(), time.process_time()
    return lambda: min(time.perf_counter() - clock, time.process_time() - processor)
