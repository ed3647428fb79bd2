"""What moving blocks to other motifs does after training: one natural-gradient step, against going on without it.

    python benchmarks/reassignment.py RUN --data ../shared/data [--steps 0.00003 0.001 0.03] [--threads 1]

RUN: a directory of `benchmarks/finetune.py targets`. The gradient of every decoded weight, a mean over 150 batches, is
turned into a step by second moments of the layer's inputs and importance of its rows (arXiv 1503.05671); blocks move
where that brings them nearer to the weights after the step, in the same metric. A step's length is its cost over that
of the whole quantisation error. Half an epoch of training follows. Figures are of the run's validation images.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from _common import machine
from torch import nn
from torch.nn import functional

import momos_zoo  # noqa: F401
from momos_compress import MomosFile, load_model, open_checkpoint
from momos_compress.calibration.alternation import improve
from momos_compress.calibration.damping import damped
from momos_compress.calibration.gradients import collect_gradients
from momos_compress.calibration.importance import row_weights
from momos_compress.calibration.moments import collect_moments
from momos_compress.calibration.objective import distortion
from momos_compress.calibration.sampling import Sampling
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState, normalised
from momos_compress.calibration.statistics import Statistics
from momos_compress.calibration.store import MatrixStore
from momos_compress.finetuning.epochs import EpochOrder, loader
from momos_compress.finetuning.images import ImageKind
from momos_compress.finetuning.samples import Samples
from momos_compress.finetuning.splits import open_splits
from momos_compress.finetuning.start import calibration_of
from momos_compress.modules.mosaic_weight import MosaicWeight
from momos_compress.modules.parametrised import MosaicNetwork, parametrise
from momos_compress.mosaic.scales import round_scales, scale_values
from momos_compress.networks.layers import find_layers
from momos_compress.networks.load import model_of
from momos_compress.networks.outputs import output_loss
from momos_compress.tensors.records import TensorInfo

NETWORK = "resnet20_cifar10_jpeg"
BATCH, GRADIENT_BATCHES, SAMPLES = 128, 150, 1024
GRADIENT_EPOCH, TRAINING_EPOCH = 30, 20
"""Which orders of the samples serve; the run itself saw those of its first epochs."""
TEMPERATURE, LEARNING_RATES, SHARE = 2.0, (6e-3, 4e-3, 4e-2), 0.5


class Trial:
    """The teacher, the samples of a run, and its trained network as often as it is asked for."""

    def __init__(self, run: Path, data: Path) -> None:
        self.file = MomosFile(run / "model.momos.safetensors")
        self.dense = open_checkpoint(str(data / f"{NETWORK}.safetensors"))
        self.teacher = model_of(self.dense, device="cpu").eval().requires_grad_(False)
        self.kind = ImageKind(self.teacher, "cpu")
        self.splits = open_splits(self.kind, str(data / "cifar10-train.tar"), 0.05, None, seed=0, labels=False)
        self.views = self.kind.views(self.splits.train, augment="auto", seed=0)

    def network(self) -> tuple[MosaicNetwork, dict[str, MosaicWeight]]:
        network = parametrise(load_model(self.file.path), self.file)
        network.model.eval()
        found = {}
        for name in self.file.recipe.tensors:
            path, _, attribute = name.rpartition(".")
            found[name] = network.model.get_submodule(path).parametrizations[attribute][0]  # type: ignore[index]
        return network, found

    def batches(self, epoch: int, count: int) -> Iterator[torch.Tensor]:
        order = EpochOrder(len(self.splits.train.order), BATCH, seed=0)
        order.epoch = epoch
        for number, (images, _) in enumerate(loader(self.views, order)):
            if number == count:
                return
            yield self.kind.prepare(images)

    def loss(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            target, out = self.teacher(images), model(images)
        return self._distance(out, target)

    def _distance(self, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = output_loss(out.float() / TEMPERATURE, target.float() / TEMPERATURE, None)
        return loss * TEMPERATURE**2

    @torch.no_grad()
    def measure(self, model: nn.Module) -> str:
        samples: Samples = self.splits.validation
        views, order = self.kind.views(samples), EpochOrder(len(samples.order), 250, seed=0, shuffle=False)
        total = right = 0.0
        for images, targets in loader(views, order):
            prepared = self.kind.prepare(images)
            out = model(prepared)
            total += float(self._distance(out, self.teacher(prepared))) * len(targets)
            right += float((out.argmax(dim=1) == targets).sum())
        return f"loss {total / len(samples.order):.4f}, {100 * right / len(samples.order):.2f} %"

    def train(self, network: MosaicNetwork) -> None:
        """Half an epoch at half the usual learning rates, as at the end of a run."""
        steps = len(self.splits.train.order) // BATCH // 2
        network.model.requires_grad_(False)
        parts = ([network.codebook.motifs], list(network.vectors().values()), list(network.codes.values()))
        groups = [{"params": part, "lr": rate} for part, rate in zip(parts, LEARNING_RATES, strict=True)]
        for parameter in (parameter for part in parts for parameter in part):
            parameter.requires_grad_(True)
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: SHARE * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / steps)) / 2
        )
        for images in self.batches(TRAINING_EPOCH, steps):
            optimiser.zero_grad()
            self.loss(network.model, images).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()

    def gradients(self) -> dict[str, torch.Tensor]:
        """Mean gradient of each decoded weight."""
        plain = load_model(self.file.path).eval().requires_grad_(False)
        weights = {name: plain.get_parameter(name).requires_grad_(True) for name in self.file.recipe.tensors}
        for images in self.batches(GRADIENT_EPOCH, GRADIENT_BATCHES):
            (self.loss(plain, images) / GRADIENT_BATCHES).backward()  # type: ignore[no-untyped-call]
        return {name: weight.grad for name, weight in weights.items() if weight.grad is not None}

    def state(self) -> FitState:
        """The layers as they are: the original's weights as targets, the run's mosaic, motifs and scales."""
        network, mosaics = self.network()
        plain = load_model(self.file.path).eval()
        recipe = self.file.recipe
        layers = find_layers(plain, [TensorInfo(name, t.shape, t.dtype) for name, t in recipe.tensors.items()])
        data = calibration_of(self.splits.train, self.kind, SAMPLES, 0)
        inputs = collect_moments(plain, layers, Sampling(data.batches(64), SAMPLES, device="cpu", seed=0))
        gradients = collect_gradients(plain, layers, data.batches(16, SAMPLES // 2), device="cpu", seed=0)
        motifs, fits, matrices = network.codebook().detach(), [], MatrixStore()
        for layer in layers:
            codes = round_scales(network.codes[layer.parameter].detach())
            weight = self.dense.read(layer.parameter)
            layout = recipe.tensors[layer.parameter].layout
            targets = normalised(weight, layout, codes, layer.groups, recipe.s)
            inputs.moments[layer.parameter] = damped(inputs.moments[layer.parameter], recipe.s)[0]
            matrices[layer.parameter] = targets
            shape = (len(targets), targets.shape[1], targets.shape[2])
            fit = LayerState(layer.parameter, layout, codes, shape, torch.ones(shape[:2]), correlated=True)
            fit.indices = mosaics[layer.parameter].indices.reshape(*targets.shape[:2], -1).int()
            fits.append(fit)
        for fit, weights in zip(fits, row_weights(fits, layers, Statistics(inputs, gradients)), strict=True):
            fit.weights = weights
        rate = Rate.uniform(len(motifs), 0)
        return FitState(fits, matrices, inputs.moments, motifs, rate, rate_weight=0, zero_motif=True, device="cpu")


def natural_steps(state: FitState, gradients: dict[str, torch.Tensor], s: int) -> tuple[list[torch.Tensor], float]:
    """Each layer's step of its normalised weights against the gradient, and what all steps cost in the fit's metric."""
    steps, cost = [], 0.0
    for layer in state.layers:
        scaled = layer.layout.matrix(gradients[layer.name]) * scale_values(layer.scales)[:, None]
        pull = functional.pad(scaled, (0, -scaled.shape[1] % s)).reshape(layer.shape)
        moments = state.moments[layer.name]
        factor = torch.linalg.cholesky(moments.double())
        step = -torch.cholesky_solve(pull.transpose(1, 2).double(), factor).transpose(1, 2).float()
        step /= layer.weights[:, :, None]
        cost += float((((step @ moments) * step).sum(dim=2) * layer.weights).sum())
        steps.append(step)
    return steps, cost


def entropy(mosaics: dict[str, MosaicWeight]) -> float:
    usage = torch.cat([mosaic.get_buffer("indices").long() for mosaic in mosaics.values()]).bincount().double()
    share = usage[usage > 0] / usage.sum()
    return float(-(share * share.log2()).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=float, nargs="+", default=[3e-5, 1e-3, 3e-2])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    trial = Trial(options.run, options.data)
    network, mosaics = trial.network()
    print(f"as it is: entropy {entropy(mosaics):.3f}, {trial.measure(network.model)}", flush=True)
    trial.train(network)
    print(f"trained on: {trial.measure(network.model)}", flush=True)
    state, gradients = trial.state(), trial.gradients()
    error, s = distortion(state), trial.file.recipe.s
    steps, cost = natural_steps(state, gradients, s)
    before, motifs = [layer.indices.clone() for layer in state.layers], state.codebook
    for length in options.steps:
        for layer, step, indices in zip(state.layers, steps, before, strict=True):
            layer.indices = indices.clone()
            state.targets[layer.name] = layer.decoded(motifs) + math.sqrt(length * error / cost) * step
        improve(state, lambda done: None, codebook=False)
        network, mosaics = trial.network()
        moved = 0
        for layer, indices in zip(state.layers, before, strict=True):
            moved += int((layer.indices != indices).sum())
            mosaics[layer.name].get_buffer("indices").copy_(layer.indices.reshape(-1))
        told = f"step {length:g}: {moved:,} blocks move, entropy {entropy(mosaics):.3f}"
        print(f"{told}, {trial.measure(network.model)}", flush=True)
        trial.train(network)
        print(f"  trained on: {trial.measure(network.model)}", flush=True)


if __name__ == "__main__":
    main()
