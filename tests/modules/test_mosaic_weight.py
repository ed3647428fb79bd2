"""Weights whose columns have scales: what they decode to, their gradients, and the file that training gives."""

from pathlib import Path

import pytest
import torch
from column_files import write_columns
from torch import nn

from momos_compress import MomosFile
from momos_compress.finetuning.export import write_tuned
from momos_compress.modules.parametrised import MosaicNetwork, parametrise
from momos_compress.mosaic.blocks import Layout

S = 4
LAYOUTS = {"conv.weight": Layout(6), "turned.weight": Layout(12, transposed=True), "plain.weight": Layout(5)}
COLUMNS = {"conv.weight": 27, "turned.weight": 6}
"""Numbers of columns, none of which fills whole blocks."""


class Network(nn.Module):
    """Two layers whose columns have scales, and one of rows alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.turned, self.plain = nn.Conv2d(3, 6, 3), nn.ConvTranspose2d(6, 3, 2), nn.Conv2d(3, 5, 1)
        self.norm = nn.LayerNorm(125)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.norm(self.plain(self.turned(self.conv(images))).flatten(1))
        return outputs


@pytest.fixture
def opened(tmp_path: Path) -> MosaicNetwork:
    model = Network()
    state = {name: tensor.detach() for name, tensor in model.named_parameters()}
    file = write_columns(tmp_path / "x", state, s=S, k=9, layouts=LAYOUTS, columns=COLUMNS)
    return parametrise(model, file)


def trained(opened: MosaicNetwork) -> None:
    """A few steps on all that learns."""
    groups = [opened.codebook.motifs, *opened.vectors().values(), *opened.codes.values()]
    optimiser = torch.optim.SGD(groups, lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
        (opened.model(images) - 1).abs().sum().backward()
        optimiser.step()


def test_weights_are_what_the_file_decodes_to(opened: MosaicNetwork) -> None:
    assert {name: len(opened.file.column_codes(name)) for name in LAYOUTS} == {**COLUMNS, "plain.weight": 0}
    for name in LAYOUTS:
        assert torch.equal(opened.weight(name), opened.file.get(name)), name


def test_columns_are_buffers_that_move_and_do_not_learn(opened: MosaicNetwork) -> None:
    buffers = {name: buffer for name, buffer in opened.model.named_buffers() if name.endswith(".columns")}
    assert sorted(map(len, buffers.values())) == [0, 6, 27]
    assert not any("columns" in name for name, _ in opened.model.named_parameters())
    assert not any("columns" in name for name in opened.model.state_dict())
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    trained(opened)
    assert all(torch.equal(buffer, before[name]) for name, buffer in buffers.items())


def test_motifs_and_codes_of_rows_get_the_gradient_through_the_columns(opened: MosaicNetwork) -> None:
    file, draw = opened.file, torch.Generator().manual_seed(1)
    motifs = file.codebook.double().requires_grad_()
    codes = {name: file.scale_codes(name).double().requires_grad_() for name in LAYOUTS}
    expected = found = torch.zeros(())
    for name, tensor in file.recipe.tensors.items():
        given = torch.randn(tensor.shape, generator=draw)
        rows = 2 ** ((codes[name] - 192) / 8)
        matrix = motifs[file.indices(name).long()].reshape(len(rows), -1)[:, : given.numel() // len(rows)]
        weight = matrix * rows[:, None]
        if name in COLUMNS:
            weight = weight * 2 ** ((file.column_codes(name).double() - 192) / 8)
        weight = (weight.T if tensor.layout.transposed else weight).reshape(tensor.shape)
        expected = expected + (weight * given).sum()
        module = opened.model.get_submodule(name.split(".")[0])
        found = found + (module.weight * given).sum()
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    pairs = [(opened.codebook.motifs, motifs), *((opened.codes[name], codes[name]) for name in LAYOUTS)]
    for learnt, exact in pairs:
        assert learnt.grad is not None
        assert exact.grad is not None
        assert float(exact.grad.abs().min()) > 0
        torch.testing.assert_close(
            learnt.grad.double(), exact.grad, rtol=1e-4, atol=1e-5 * float(exact.grad.abs().max())
        )


def test_a_gradient_from_outside_stays_as_it_is(opened: MosaicNetwork) -> None:
    weight = opened.model.conv.weight
    given = torch.ones_like(weight)
    weight.backward(given)
    assert torch.equal(given, torch.ones_like(weight))


def test_the_trained_file_has_the_same_columns(opened: MosaicNetwork, tmp_path: Path) -> None:
    before = {name: opened.file.get(name) for name in LAYOUTS}
    trained(opened)
    write_tuned(opened, tmp_path / "tuned", opened.file.get, {"epochs": 1})
    tuned = MomosFile(tmp_path / "tuned")
    assert set(tuned.recipe.features) == {*opened.file.recipe.features, "bundle"}
    for name in LAYOUTS:
        assert torch.equal(tuned.column_codes(name), opened.file.column_codes(name))
        assert torch.equal(tuned.get(name), opened.weight(name))
        assert not torch.equal(tuned.get(name), before[name])
