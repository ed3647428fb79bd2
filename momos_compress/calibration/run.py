"""A compression that is fitted to calibration inputs, from the network to the mosaic and what is stored beside it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from momos_compress.calibration.fit import ALL_MOTIFS, CANDIDATES, DAMPING, Fitter, LayerFit, damped, normalised
from momos_compress.calibration.importance import block_costs, drawn_blocks, weigh
from momos_compress.calibration.prepare import Tell
from momos_compress.calibration.repair import repair, repairable
from momos_compress.calibration.statistics import (
    PAIRED_VECTORS,
    Statistics,
    collect_gradients,
    collect_moments,
    collect_shift,
)
from momos_compress.calibration.tuning import tune
from momos_compress.common.stages import Stages
from momos_compress.container.passthrough import stored_dtype
from momos_compress.data.batches import batch_length, to_device
from momos_compress.data.draws import CalibrationData
from momos_compress.fitting.kmeans import default_method, fit
from momos_compress.fitting.rounding import EIGHT_BIT_LOSS
from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.mosaic.mosaic import Mosaic, MosaicBuilder
from momos_compress.mosaic.scales import encode_scales
from momos_compress.networks.costs import samples_at_once
from momos_compress.networks.layers import find_layers, own_names
from momos_compress.planning.plan import Plan
from momos_compress.planning.select import EXCLUDED
from momos_compress.sources.checkpoint import Checkpoint

PASSES, LEAST_PASSES = 14, 4
ROUNDS, LEAST_ROUNDS = 4, 1
PASSES_A_ROUND, LEAST_A_ROUND = 4, 2
PAIRS, PAIRS_A_BLOCK = 194 * 10**9, 2000
"""Comparisons of blocks with motifs that the passes before the first round may take, and what else a block costs in a
pass, in such comparisons: large networks and many motifs get fewer passes."""
SHIFT = 0.5
"""How much of the way to the weights that suit the changed inputs best targets go in a round: all layers go at once and
the layers before take their part of the way themselves."""
TUNING_EPOCHS, TUNING_PASSES = 8, 4
ROUND_SAMPLES, REPAIR_SAMPLES = 512, 1024
GRADIENT_SAMPLES, GRADIENT_BATCH = 1024, 16
GRADIENT_PRODUCTS, LEAST_GRADIENTS = 5 * 10**12, 128
"""Multiplications that gradients may take, down to so many samples: their squares are means over rows, soon good."""
ROUND_PRODUCTS, ROUNDS_PRODUCTS = 2 * 10**12, 4 * 10**12
TUNING_PRODUCTS = 5 * 10**12
"""Multiplications that a round's two forward passes, those of all rounds, and tuning may take: large networks get fewer
rounds, and see fewer samples."""
HELD_VALUES = 2**27

DOMINANT = "its error would cost more than its bytes"
"""The reason for leaving a weight out of the mosaic that is found by measurement."""


@dataclass(frozen=True)
class Calibrated:
    """mosaic; replaced: checkpoint name -> corrected value of tensors stored beside it; excepted: name -> why it is."""

    mosaic: Mosaic
    replaced: dict[str, torch.Tensor]
    excepted: dict[str, str]
    warnings: tuple[str, ...]


def fit_calibrated(
    checkpoint: Checkpoint,
    work: Plan,
    model: nn.Module,
    data: CalibrationData,
    *,
    spool_directory: Path | None,
    stages: Stages,
    tell: Tell,
) -> Calibrated:
    """Fit motifs and mosaic to what ``model``, the checkpoint's network on its device, computes on ``data``."""
    return _Run(checkpoint, work, model, data, spool_directory, stages, tell).fit()


class _Run:
    """The steps of one fit, and what they share."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        work: Plan,
        model: nn.Module,
        data: CalibrationData,
        directory: Path | None,
        stages: Stages,
        tell: Tell,
    ) -> None:
        self.checkpoint, self.work, self.model, self.data = checkpoint, work, model, data
        self.directory, self.stages, self.tell, self.settings = directory, stages, tell, work.settings
        self.device = str(work.settings.device)
        self.infos = {info.name: info for info in work.selection.chosen}
        self.layers = find_layers(model, work.selection.chosen)
        few = to_device(next(iter(data.batches(2))), self.device)
        self.most_samples = samples_at_once(model, few)
        self.at_once = min(64, self.most_samples)
        self.trained_at_once = samples_at_once(model, few, trained=True)
        self.beside = _changeable(model, work)
        self.fixed = set(model.state_dict()) - self.beside
        self.centred = repairable(model, self.layers, few, fixed=self.fixed)
        self.statistics = self._collect()
        self.compressed = copy.deepcopy(model)
        self.damped: dict[str, float] = {}
        self.excepted: dict[str, str] = {}
        self.fits = self._layer_fits()

    def fit(self) -> Calibrated:
        """All steps in order."""
        with self.stages.stage("fit"):
            fitter = self._fitter()
            passes, rounds, a_round = self._passes(fitter)
            total = fitter.blocks * (1 + passes)
            fitter.first_pass(lambda done: self.tell("fit", done, total))
            for _ in range(passes):
                fitter.improve(lambda done: self.tell("fit", done, total))
            if self.settings.exceptions and not self.settings.include:
                self._except(fitter)
        for _ in range(rounds):
            with self.stages.stage("compare"):
                self._rebuild(fitter.codebook)
                self._retarget()
            with self.stages.stage("fit again"):
                for _ in range(a_round):
                    fitter.improve(lambda done: self.tell("fit again", done, fitter.blocks * a_round))
        with self.stages.stage("round motifs"):
            stored, step = self._stored(fitter)
            fitter.codebook = decode_codebook(stored, step).to(self.device)
            fitter.improve(lambda done: self.tell("round motifs", done, fitter.blocks), codebook=False)
        with self.stages.stage("repair"):
            changed = self._rebuild(fitter.codebook)
            changed |= self._tune()
        builder = MosaicBuilder(len(stored), spool_directory=self.directory)
        energy = 0.0
        for layer in self.fits:
            weight = self.checkpoint.read(layer.name)
            decoded = layer.weight(fitter.codebook.cpu(), tuple(weight.shape)).to(weight.dtype)
            error = (weight.double() - decoded.double()).square().sum()
            energy += float(weight.double().square().sum())
            indices = layer.indices.reshape(-1).numpy()
            builder.add(self.infos[layer.name], indices, float(error), layer.layout, layer.scales)
        mosaic = builder.finish(
            stored,
            step,
            energy=energy,
            sampled_blocks=self.work.sampled_blocks,
        )
        return Calibrated(mosaic, self._replaced(changed), self.excepted, self._warnings())

    def _collect(self) -> Statistics:
        data, seed = self.data, self.settings.seed
        with self.stages.stage("calibrate"):
            statistics = collect_moments(
                self.model,
                self.layers,
                data.batches(self.at_once),
                data.samples,
                device=self.device,
                seed=seed,
                centred=self.centred,
                directory=self.directory,
                progress=lambda done: self.tell("second moments", done, data.samples),
            )
            affordable = GRADIENT_PRODUCTS // max(1, 3 * statistics.products)
            limit = min(GRADIENT_SAMPLES, data.samples, max(LEAST_GRADIENTS, affordable))
            statistics.gradients = collect_gradients(
                self.model,
                self.layers,
                data.batches(min(GRADIENT_BATCH, self.at_once), limit),
                device=self.device,
                seed=seed,
                progress=lambda done: self.tell("gradients", done, limit),
            )
        return statistics

    def _layer_fits(self) -> list[LayerFit]:
        fits, s = [], self.settings.s
        for layer in self.layers:
            weight = self.checkpoint.read(layer.parameter)
            matrix = layer.layout.matrix(weight.float())
            scales = encode_scales(matrix.square().mean(dim=1).sqrt())
            targets = normalised(weight, layer.layout, scales, layer.groups, s)
            correlated = layer.parameter in self.statistics.moments
            if correlated:
                moments, damping = damped(self.statistics.moments[layer.parameter], s)
                self.statistics.moments[layer.parameter] = moments
                if damping > DAMPING:
                    self.damped[layer.parameter] = damping
            weights = torch.ones(targets.shape[:2])
            fits.append(LayerFit(layer.parameter, layer.layout, scales, targets, weights, correlated))
        weigh(fits, self.layers, self.statistics)
        return fits

    def _fitter(self) -> Fitter:
        settings, s = self.settings, self.settings.s
        blocks = torch.cat([layer.targets.reshape(-1, s) for layer in self.fits])
        costs = torch.cat([block_costs(layer, self.statistics, s) for layer in self.fits])
        blocks = blocks[drawn_blocks(costs, max(self.work.sampled_blocks, self.work.k), settings.seed)]
        self.tell("first motifs", 0, 0)
        motifs = fit(
            blocks.numpy(),
            self.work.k,
            method=default_method(),
            seed=settings.seed,
            zero_motif=settings.zero_motif,
        )
        bits = 8 * s if settings.codebook_dtype in (None, "int8") else 16 * s
        return Fitter(
            self.fits,
            self.statistics.moments,
            torch.from_numpy(motifs),
            rate_weight=settings.rate_weight if settings.coding != "packed" else 0.0,
            motif_bits=bits + 4,
            zero_motif=settings.zero_motif,
            device=self.device,
        )

    def _except(self, fitter: Fitter) -> None:
        """Take out of the mosaic each weight whose errors cost more than the bits of storing it as it is."""
        whole = {}
        for layer in self.fits:
            weight = self.checkpoint.read(layer.name)
            whole[layer.name] = 8 * weight.numel() * stored_dtype(weight, self.settings.passthrough).itemsize
        for name in fitter.dearer_than(whole):
            fitter.leave_out(name)
            self.excepted[name] = DOMINANT
        self.fits = [layer for layer in self.fits if layer.name not in self.excepted]

    def _stored(self, fitter: Fitter) -> tuple[torch.Tensor, float | None]:
        motifs = fitter.codebook.cpu().numpy()
        if self.settings.codebook_dtype is not None:
            return quantise_codebook(motifs, self.settings.codebook_dtype)
        before, kept = fitter.distortion(), fitter.codebook
        stored, step = quantise_codebook(motifs, "int8")
        fitter.codebook = decode_codebook(stored, step).to(self.device)
        after, fitter.codebook = fitter.distortion(), kept
        return (stored, step) if after <= (1 + EIGHT_BIT_LOSS) * before else quantise_codebook(motifs, "float16")

    def _rebuild(self, codebook: torch.Tensor) -> set[str]:
        """The compressed network anew, repaired; returns the names, in the network, of what repair changed."""
        self.compressed.load_state_dict(self.model.state_dict())
        parameters = dict(self.compressed.named_parameters(remove_duplicate=False))
        own = {layer.parameter: layer.own_name for layer in self.layers}
        self.compressed.train().eval()  # some networks keep what they computed of weights until they train again
        with torch.no_grad():
            for layer in self.fits:
                shape = self.infos[layer.name].shape
                decoded = layer.weight(codebook.cpu(), shape).to(self.infos[layer.name].dtype)
                if own[layer.name] in parameters:
                    parameters[own[layer.name]].copy_(decoded)
        count = min(self.most_samples, self.data.samples, REPAIR_SAMPLES)
        batch = to_device(next(iter(self.data.batches(max(2, count)))), self.device)
        return set(repair(self.model, self.compressed, self.layers, batch, fixed=self.fixed))

    def _retarget(self) -> None:
        """What the original layer computes of its own inputs, out of the inputs that it has now: least squares."""
        samples = self._round_samples()
        widths = sum(layer.targets.shape[0] * layer.targets.shape[2] for layer in self.fits if layer.correlated)
        batch = max(1, min(self.at_once, HELD_VALUES * samples // (PAIRED_VECTORS * max(widths, 1))))
        mosaic = {layer.name for layer in self.fits}
        moments, shifts = collect_shift(
            self.model,
            self.compressed,
            [layer for layer in self.layers if layer.parameter in mosaic],
            self.data.batches(batch, samples),
            samples,
            device=self.device,
            seed=self.settings.seed,
            centred=self.centred,
            directory=self.directory,
            progress=lambda done: self.tell("compare", done, samples),
        )
        s = self.settings.s
        groups = {own.parameter: own.groups for own in self.layers}
        for layer in self.fits:
            if layer.name not in moments:
                continue
            padded, _ = damped(moments[layer.name], s)
            width = shifts[layer.name].shape[2]
            weight = self.checkpoint.read(layer.name)
            layer.targets = normalised(weight, layer.layout, layer.scales, groups[layer.name], s)
            pull = layer.targets[:, :, :width] @ shifts[layer.name]
            factor = torch.linalg.cholesky(padded[:, :width, :width].double())
            shift = torch.cholesky_solve(pull.transpose(1, 2).double(), factor).transpose(1, 2)
            layer.targets[:, :, :width] += SHIFT * shift.float()
            self.statistics.moments[layer.name] = padded

    def _passes(self, fitter: Fitter) -> tuple[int, int, int]:
        """Passes before the first round, rounds, and passes in each."""
        k = len(fitter.codebook)
        pairs = fitter.blocks * (PAIRS_A_BLOCK + (k if k <= ALL_MOTIFS else 4 * CANDIDATES))
        passes = max(LEAST_PASSES, min(PASSES, PAIRS // max(1, pairs)))
        products = 2 * self.statistics.products * self._round_samples()
        rounds = min(ROUNDS, ROUNDS_PRODUCTS // max(1, products), passes * ROUNDS // PASSES)
        return passes, max(LEAST_ROUNDS, rounds), max(LEAST_A_ROUND, min(PASSES_A_ROUND, passes // 3))

    def _round_samples(self) -> int:
        return min(ROUND_SAMPLES, self._affordable(ROUND_PRODUCTS, 2))

    def _affordable(self, products: int, passes: int) -> int:
        return max(1, min(self.data.samples, products // max(1, passes * self.statistics.products)))

    def _tune(self) -> set[str]:
        samples = self._affordable(TUNING_PRODUCTS, TUNING_PASSES)
        epochs = min(TUNING_EPOCHS, TUNING_PRODUCTS // max(1, TUNING_PASSES * self.statistics.products * samples))
        kept = [name for name, tensor in self.model.named_parameters() if name in self.beside and tensor.ndim < 2]
        batches = list(self.data.batches(self.at_once, samples))
        count = sum(map(batch_length, batches)) * epochs
        tuned = tune(
            self.model,
            self.compressed,
            kept,
            batches,
            epochs=epochs,
            seed=self.settings.seed,
            device=self.device,
            at_once=self.trained_at_once,
            progress=lambda done: self.tell("tune", done, count),
        )
        return set(tuned)

    def _replaced(self, changed: set[str]) -> dict[str, torch.Tensor]:
        # By identity: the network may have other names for the same tensors than the file.
        state = self.compressed.state_dict(keep_vars=True)
        ids = {id(state[name]) for name in changed}
        names = own_names(self.model, self.work.selection.left_out)
        dtypes = {info.name: info.dtype for info in self.checkpoint.tensors.infos}
        return {
            name: state[own].detach().cpu().to(dtypes[name])
            for name, own in names.items()
            if own in state and id(state[own]) in ids
        }

    def _warnings(self) -> tuple[str, ...]:
        out = list(self.data.warnings)
        if self.statistics.silent:
            out.append(f"no calibration input reached {_some(self.statistics.silent)}: fitted without data")
        if self.damped:
            out.append(
                f"the inputs of {_some(tuple(self.damped))} are linearly dependent: damped by up to "
                f"{max(self.damped.values()):g} times their mean square"
            )
        return tuple(out)


def _changeable(model: nn.Module, work: Plan) -> set[str]:
    """Names, in the network, of what is stored beside the mosaic, but for what the user excluded."""
    state, left_out = model.state_dict(keep_vars=True), work.selection.left_out
    own = own_names(model, [name for name, reason in left_out.items() if reason != EXCLUDED])
    ids = {id(state[name]) for name in own.values() if name in state}
    return {name for name, tensor in state.items() if id(tensor) in ids}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
