"""Drawing calibration inputs."""

import calibration_fixtures
import pytest
import torch
from calibration_inputs import contained, rows, save_images
from torch import nn

from momos_compress import MomosError
from momos_compress.data.draws import CalibrationData, open_calibration

work, network = calibration_fixtures.work, calibration_fixtures.network


def test_a_draw_is_seeded_and_every_pass_gives_the_same(network: nn.Module) -> None:
    data = str(save_images("images"))
    first = open_calibration(data, network, samples=8, seed=1)
    again = open_calibration(data, network, samples=8, seed=1)
    assert torch.equal(rows(first), rows(first))
    assert torch.equal(rows(first, 3), rows(again, 8))
    assert not torch.equal(rows(first), rows(open_calibration(data, network, samples=8, seed=2)))
    assert contained(rows(first), rows(first)) == [1] * 8
    assert [len(batch) for batch in first.batches(3)] == [3, 3, 2]
    assert [len(batch) for batch in first.batches(3, limit=4)] == [3, 1]
    assert torch.equal(torch.cat(list(first.batches(3, limit=4))), rows(first)[:4])  # type: ignore[arg-type]
    assert len(list(first.batches(3, limit=100))) == 3


def test_held_out_samples_are_others_and_neither_part_depends_on_the_size_of_the_other(network: nn.Module) -> None:
    data = str(save_images("images"))
    small = open_calibration(data, network, samples=4, seed=0, held_out=3)
    large = open_calibration(data, network, samples=9, seed=0, held_out=3)
    alone = open_calibration(data, network, samples=9, seed=0)
    assert torch.equal(rows(small.held_out), rows(large.held_out))
    assert torch.equal(rows(small), rows(large)[:4])
    assert torch.equal(rows(large), rows(alone))
    assert contained(rows(large.held_out), rows(large)) == [0, 0, 0]
    assert alone.held_out is None
    assert large.held_out is not None
    assert large.held_out.description == "3 held-out images of images"
    rest = open_calibration(data, network, seed=0, held_out=3)
    assert rest.samples == 9
    assert rest.warnings == ("images has only 9 images beside 3 held out, fewer than the usual 1,024",)


@pytest.mark.parametrize(
    ("samples", "held_out", "message"),
    [
        (13, 0, "images has 12 images, too few for 13 to calibrate on; ask for fewer"),
        (10, 3, "images has 12 images, too few for 10 to calibrate on and 3 to hold out; ask for fewer"),
        (None, 12, "images has 12 images and 12 are to be held out, which leaves none; hold out fewer"),
        (0, 0, "at least 1 sample, not 0"),
        (-1, 0, "at least 1 sample, not -1"),
        (None, -1, "held out cannot be -1"),
    ],
)
def test_numbers_that_cannot_be(samples: int | None, held_out: int, message: str, network: nn.Module) -> None:
    with pytest.raises(MomosError, match=message):
        open_calibration(str(save_images("images")), network, samples=samples, seed=0, held_out=held_out)


def test_networks_that_take_something_else() -> None:
    from transformers import ViTConfig, ViTModel

    save_images("images")
    with pytest.raises(MomosError, match=r"a language model of transformers; this is Linear"):
        open_calibration("images", nn.Linear(2, 2), seed=0)
    vit = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(MomosError, match="ViTModel takes pixel_values"):
        open_calibration("images", vit, seed=0)


def test_samples_of_several_lengths_come_from_the_shortest_in_batches_of_as_many_tokens() -> None:
    lengths = (5, 1, 4, 1, 2, 5, 1)
    data = CalibrationData("texts", 7, (), lambda at: torch.tensor(list(at)), lengths=lengths)
    batches = [batch.tolist() for batch in data.batches(2)]  # type: ignore[union-attr]
    assert batches == [[1, 3, 6, 4], [2, 0], [5]]  # 4 x 2, 2 x 5 and 5 of at most 2 x 5 tokens
    assert [batch.tolist() for batch in data.batches(2, 4, start=2)] == [[3, 2]]  # type: ignore[union-attr]
    assert data.longest(3).tolist() == [0, 5, 2]  # type: ignore[union-attr]
    assert data.mean_length() == 19 / 7
    assert data.mean_length(3) == 10 / 3
