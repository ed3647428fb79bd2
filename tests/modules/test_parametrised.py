"""Weights as motifs[mosaic] times scales: what they decode to, and what their gradients are."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import compress_version1, memory_checkpoint
from torch import nn

from momos_compress import MomosError, MomosFile, Settings, compress, load_model
from momos_compress.finetuning.export import write_tuned
from momos_compress.finetuning.quantised import FakeQuantised, fake_quantise
from momos_compress.modules.codebook import Codebook
from momos_compress.modules.parametrised import MosaicNetwork, parametrise
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES, decode_codebook, quantise_codebook
from momos_compress.mosaic.scales import scale_values
from momos_compress.sources.architecture import timm_architecture
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.compressed import checkpoint_of

pytestmark = pytest.mark.usefixtures("one_thread")


def vit() -> Checkpoint:
    """A transformer with rows that fill no whole blocks, and vectors of every kind."""
    model = timm.create_model("test_vit", num_classes=5).eval()
    return memory_checkpoint(
        model.state_dict(),
        architecture=timm_architecture(model, {"num_classes": 5}),
        parameters=tuple(name for name, _ in model.named_parameters()),
        buffers=frozenset(name for name, _ in model.named_buffers()),
    )


@pytest.fixture
def file(tmp_path: Path) -> MomosFile:
    compress(vit(), Settings(k=200, s=3, calibrate="none", bdm=False), tmp_path / "x.momos.safetensors")
    return MomosFile(tmp_path / "x.momos.safetensors")


def opened(file: MomosFile) -> MosaicNetwork:
    return parametrise(load_model(file.path), file)


def weights(model: nn.Module, file: MomosFile) -> dict[str, torch.Tensor]:
    return {name: model.get_parameter(name) if name in dict(model.named_parameters()) else _get(model, name)
            for name in file.recipe.tensors}  # fmt: skip


def _get(model: nn.Module, name: str) -> torch.Tensor:
    path, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(path), attribute)


@pytest.mark.parametrize("version1", [False, True])
def test_the_network_computes_with_exactly_what_the_file_decodes_to(version1: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.momos.safetensors"
    if version1:
        compress_version1(vit(), path, k=200, s=3)
    else:
        compress(vit(), Settings(k=200, s=3, calibrate="none", bdm=False), path)
    found = MomosFile(path)
    network = opened(found)
    assert any(tensor.scaled for tensor in found.recipe.tensors.values()) != version1
    for name, weight in weights(network.model, found).items():
        assert torch.equal(weight, found.get(name)), name
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(network.model(images), load_model(path)(images))


def test_motifs_and_scales_get_the_gradient_of_all_their_blocks(file: MomosFile) -> None:
    network, dense = opened(file), load_model(file.path)
    network.model.requires_grad_(True)
    dense.requires_grad_(True)
    images = torch.randn(2, 3, 160, 160)
    network.model(images).square().sum().backward()
    dense(images).square().sum().backward()
    expected = np.zeros((file.recipe.k, 3))
    motifs = file.codebook.double().numpy()
    for name, tensor in file.recipe.tensors.items():
        gradient = dense.get_parameter(name).grad
        assert gradient is not None
        blocks = tensor.layout.cut(tensor.layout.matrix(gradient), 3).reshape(-1, 3).double().numpy()
        indices = file.indices(name).numpy()
        if tensor.scaled:
            scales = scale_values(file.scale_codes(name)).double().numpy()
            a_row = len(blocks) // len(scales)
            # d scale / d code: the scale is 2^((code - 192) / 8)
            of_codes = (blocks * motifs[indices]).reshape(len(scales), -1).sum(axis=1) * scales * np.log(2) / 8
            found = network.codes[name].grad
            assert found is not None
            np.testing.assert_allclose(found.numpy(), of_codes, rtol=1e-3, atol=1e-5 * np.abs(of_codes).max())
            blocks = blocks * np.repeat(scales, a_row)[:, None]
        np.add.at(expected, indices, blocks)
    zero = (motifs == 0).all(axis=1)
    assert zero.sum() == 1
    expected[zero] = 0
    found = network.codebook.motifs.grad
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", sorted(CODEBOOK_DTYPES))
def test_motifs_are_rounded_as_they_will_be_stored_and_the_zero_motif_stays(dtype: str) -> None:
    motifs = torch.randn(9, 4)
    motifs[3] = 0
    codebook = Codebook(motifs, dtype)
    optimiser = torch.optim.Adam(codebook.parameters(), lr=0.1)
    for _ in range(3):
        loss = (codebook() - 1).square().sum()
        optimiser.zero_grad()
        loss.backward()
        gradient = codebook.motifs.grad
        assert gradient is not None
        expected = 2 * (codebook().detach() - 1)
        expected[3] = 0
        assert torch.allclose(gradient, expected)
        optimiser.step()
    values = codebook.values().detach()
    assert torch.equal(codebook(), decode_codebook(*quantise_codebook(values.numpy(), dtype)))
    assert not bool(values[3].any())
    assert not torch.equal(values, motifs)


def test_nothing_as_large_as_a_weight_is_kept_for_the_way_back(file: MomosFile) -> None:
    network, kept = opened(file), 0
    name, tensor = max(file.recipe.tensors.items(), key=lambda item: item[1].blocks)

    def pack(saved: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += saved.numel() * saved.itemsize
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        weight = _get(network.model, name)
    assert weight.requires_grad
    indices = 4 * tensor.blocks
    rest = 4 * (file.codebook.numel() + sum(len(codes) for codes in network.codes.values()))
    assert kept <= indices + rest < 4 * weight.numel()


def test_tied_weights_are_one_mosaic(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=64, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config).eval()
    record = {**config.to_dict(), "model_type": "gpt2"}
    from momos_compress.sources.architecture import Architecture

    checkpoint = memory_checkpoint(
        model.state_dict(), architecture=Architecture("transformers", "GPT2LMHeadModel", record)
    )
    path = tmp_path / "x.momos.safetensors"
    compress(checkpoint, Settings(k=60, calibrate="none", bdm=False), path)
    found = MomosFile(path)
    assert set(found.recipe.aliases) == {"lm_head.weight"} or set(found.recipe.aliases) == {"transformer.wte.weight"}
    network = opened(found)
    assert torch.equal(network.model.lm_head.weight, network.model.transformer.wte.weight)
    network.model.requires_grad_(True)
    network.model(torch.arange(5)[None]).logits.square().sum().backward()
    dense = load_model(path).requires_grad_(True)
    dense(torch.arange(5)[None]).logits.square().sum().backward()
    name = next(iter(found.recipe.aliases.values()))
    tensor = found.recipe.tensors[name]
    gradient = dense.transformer.wte.weight.grad
    assert gradient is not None
    assert tensor.scaled
    rows = (gradient * found.get(name)).sum(dim=1) * np.log(2) / 8
    of_codes = network.codes[name].grad
    assert of_codes is not None
    assert torch.allclose(of_codes, rows, rtol=1e-3, atol=1e-5)


def test_what_was_learnt_is_written_and_nothing_else_changes(file: MomosFile, tmp_path: Path) -> None:
    network = opened(file)
    network.model.requires_grad_(True)
    frozen = {name: file.get(name) for name in file}
    groups = [network.codebook.motifs, *network.vectors().values(), *network.codes.values()]
    optimiser = torch.optim.SGD(groups, lr=0.05)
    images = torch.randn(4, 3, 160, 160)
    for _ in range(3):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network.model(images), torch.tensor([0, 1, 2, 3])).backward()
        optimiser.step()
    path = tmp_path / "tuned.momos.safetensors"
    size = write_tuned(network, path, file.get, {"epochs": 1})
    tuned = MomosFile(path)
    assert size == path.stat().st_size
    assert abs(size - file.path.stat().st_size) < 0.02 * size
    assert tuned.recipe.extra["finetuned"] == {"epochs": 1}
    assert set(tuned.keys()) == set(file.keys())
    error = energy = 0.0
    for name in file.recipe.tensors:
        assert torch.equal(tuned.indices(name), file.indices(name))
        assert torch.equal(tuned.get(name), weights(network.model, file)[name])
        assert not torch.equal(tuned.get(name), frozen[name])
        error += float((tuned.get(name).double() - frozen[name].double()).square().sum())
        energy += float(frozen[name].double().square().sum())
    assert tuned.recipe.distortion == pytest.approx(error, rel=1e-9)
    assert tuned.recipe.energy == pytest.approx(energy, rel=1e-9)
    with torch.no_grad():
        gap = (load_model(path)(images) - network.model(images)).abs().max()
    assert float(gap) < 0.05  # norms and biases are rounded on their way into the file
    again = checkpoint_of(tuned)
    assert [info.name for info in again.tensors.infos] == [n for n in tuned if n not in tuned.recipe.aliases]


def test_a_mosaic_of_another_network_is_refused(file: MomosFile) -> None:
    with pytest.raises(MomosError, match=r"its mosaic does not fit .*: it has no|which has no"):
        parametrise(timm.create_model("test_efficientnet"), file)
    with pytest.raises(MomosError, match=r"head\.weight is \[5, \d+\] there and \[7, \d+\] in the network"):
        parametrise(timm.create_model("test_vit", num_classes=7), file)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_fake_quantisation(bits: int) -> None:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    top = 2 ** (bits - 1) - 1
    rounded = FakeQuantised(bits)(weight)
    step = float(weight.detach().abs().max()) / top
    assert torch.allclose(rounded, (weight / step).round() * step, atol=1e-6)
    assert float((rounded - weight).abs().max()) <= step / 2 * 1.001
    assert len(rounded.unique()) <= 2 * top + 1
    given = torch.arange(30.0).view(6, 5)
    (rounded * given).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, given)
    assert torch.equal(FakeQuantised(bits)(torch.zeros(3, 2)), torch.zeros(3, 2))


def test_tied_weights_are_rounded_once_and_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
            self.head.weight = self.table.weight

    model = Tied()
    free, before = model.head.weight, len(list(model.parameters()))
    fake_quantise(model, 3)
    assert len(list(model.parameters())) == before
    assert torch.equal(model.head.weight, model.table.weight)
    assert len(model.head.weight.unique()) <= 7
    assert any(parameter is free for parameter in model.parameters())
    assert model.head.bias.ndim == 1
    assert not hasattr(model.head, "parametrizations") or "bias" not in model.head.parametrizations
