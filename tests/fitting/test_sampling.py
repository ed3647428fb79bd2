import numpy as np
import pytest
import torch
from conftest import memory_checkpoint

from momos_compress.fitting.sampling import draw_blocks
from momos_compress.mosaic import blocks as blocks_module
from momos_compress.mosaic.blocks import iter_blocks
from momos_compress.planning.select import select


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(7, 5, generator=generator),
        "b": torch.randn(3, 2, 3, 3, generator=generator) * 0.1,
        "c": torch.randn(40, 25, generator=generator),
    }


def all_blocks(tensors: dict[str, torch.Tensor], s: int) -> np.ndarray:
    return np.concatenate([piece.copy() for tensor in tensors.values() for piece in iter_blocks(tensor, s)])


@pytest.mark.parametrize("count", [0, 1, 50, 277])
def test_a_draw_takes_so_many_different_blocks(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "CHUNK_VALUES", 64)
    checkpoint = memory_checkpoint(state())
    chosen = select(checkpoint, s=4).chosen
    everything = all_blocks(state(), 4)
    assert len(everything) == 273
    drawn, energy = draw_blocks(checkpoint, chosen, 4, min(count, 273), seed=0)
    assert len(drawn) == min(count, 273)
    rows = {row.tobytes() for row in everything}
    assert {row.tobytes() for row in drawn} <= rows
    assert len({row.tobytes() for row in drawn}) == len(drawn)
    assert energy == pytest.approx(sum(float(t.double().square().sum()) for t in state().values()), rel=1e-12)


def test_a_draw_is_uniform_over_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "CHUNK_VALUES", 64)
    tensors = {"few": torch.ones(20, 4), "many": torch.full((180, 4), 2.0)}
    checkpoint = memory_checkpoint(tensors)
    chosen = select(checkpoint, s=4).chosen
    shares = [(draw_blocks(checkpoint, chosen, 4, 40, seed=seed)[0][:, 0] == 1).sum() for seed in range(300)]
    # Hypergeometric: mean 4, variance 40 * 0.1 * 0.9 * 160 / 199 = 2.89.
    assert np.mean(shares) == pytest.approx(4, abs=4 * (2.89 / 300) ** 0.5)
    assert np.var(shares) == pytest.approx(2.89, rel=0.35)
