"""Time and memory by stage."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from momos_compress.common.stages import Stages, peak_memory_bytes


def test_stages_are_timed_in_order_and_add_up() -> None:
    stages = Stages()
    with stages.stage("one"):
        time.sleep(0.02)
    with stages.stage("two"):
        pass
    assert [stage.name for stage in stages.done] == ["one", "two"]
    assert stages.done[0].seconds >= 0.02
    assert stages.seconds == pytest.approx(sum(stage.seconds for stage in stages.done))


def test_the_peak_is_that_of_the_stage_that_took_it() -> None:
    stages = Stages()
    with stages.stage("large"):
        held = np.ones(2**26, dtype=np.uint8)
        held[:] = 2
    del held
    with stages.stage("small"):
        pass
    large, small = stages.done
    assert large.peak_memory_bytes - small.peak_memory_bytes > 2**25
    assert stages.peak_memory_bytes == large.peak_memory_bytes


def test_a_stage_that_fails_is_not_counted() -> None:
    stages = Stages()
    with pytest.raises(ValueError, match="no"), stages.stage("bad"):
        raise ValueError("no")
    assert stages.done == []
    assert stages.peak_memory_bytes == 0 < peak_memory_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc keeps what was freed")
def test_a_stage_begins_without_what_earlier_ones_freed() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    held = [torch.ones(2**16) for _ in range(1024)]  # 256 MiB, in pieces below those that go back by themselves
    pins = held[::64]
    del held
    with Stages().stage("next"):
        assert resident() - before < 2**27
    assert len(pins) == 16
