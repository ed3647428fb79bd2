"""What a plan says before any weight is read."""

import pytest
import torch
from conftest import memory_checkpoint

from momos_compress import Settings
from momos_compress.planning.plan import plan


@pytest.mark.parametrize(
    ("coding", "k", "said"),
    [
        ("radix", 17, "`coding='radix'` takes 2 to 16 motifs, and there are 17: indices are packed"),
        ("ans", 1, "`coding='ans'` takes 2 to 1,048,576 motifs, and there are 1: indices are packed"),
        ("radix", 16, None),
        ("packed", 1, None),
        (None, 1, None),
    ],
)
def test_a_coding_that_does_not_take_so_many_motifs_is_told_of(coding: str | None, k: int, said: str | None) -> None:
    work = plan(memory_checkpoint({"w": torch.randn(32, 32)}), Settings(k=k, coding=coding, calibrate="none"))
    told = [warning for warning in work.selection.warnings if "indices are packed" in warning]
    assert told == ([] if said is None else [said])
