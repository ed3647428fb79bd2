"""Levels fitted again one layer after the other, each for the inputs that the layers before it, as compressed, give it.

Each layer answers for what is lost before it as it then is; aimed anew all at once, each corrects the same loss again.
Sources: the inputs are those of GPTQ (arXiv 2210.17323), the targets those of GPTAQ (arXiv 2504.02692).
"""

from contextlib import ExitStack

import torch
from torch import nn

from momos_compress.calibration.compressed import rebuild
from momos_compress.calibration.correction import corrected
from momos_compress.calibration.damping import damped, shrunk
from momos_compress.calibration.job import Job
from momos_compress.calibration.level_fit import refit
from momos_compress.calibration.moments import independent_vectors
from momos_compress.calibration.products import CENTRED
from momos_compress.calibration.sampling import Pass, Sampling, Watch, watched
from momos_compress.calibration.state import FitState, LayerState, normalised
from momos_compress.calibration.store import MatrixStore
from momos_compress.calibration.survey import Survey
from momos_compress.data.batches import attention_mask
from momos_compress.networks.forward import last_scores_only
from momos_compress.networks.layers import LayerWeight
from momos_compress.planning.steps import Steps

VECTORS = 2**12
"""Vectors of a layer by which its inputs are compared, or more where they are long."""
CORRECTION = 0.8
"""Fraction of the correction that targets take: all of it is best for a small decoder, 0.7 for an encoder."""
STAGE = "fit in sequence"


def refit_in_sequence(job: Job, facts: Survey, steps: Steps, state: FitState, compressed: nn.Module) -> None:
    """Fit each layer again as both networks run on one batch.

    Args:
        job: The fit.
        facts: Of its network.
        steps: How many samples the networks are compared on, where as many fit into memory.
        state: Levels; changed in place.
        compressed: A copy of the job's network, changed in place to what the new levels decode to, repaired.
    """
    samples = min(steps.compared, facts.sequence_samples, job.data.samples)
    drawn = Pass(Sampling((), samples, device=job.device, seed=job.settings.seed, vectors=VECTORS))
    drawn.mask = attention_mask(job.data.read(range(samples)))
    mosaic = {layer.name: layer for layer in state.layers if layer.correlated}
    # A table is read before its turn as an output layer comes.
    layers = [each for each in facts.layers if each.parameter in mosaic and each.module is not None and not each.table]
    sequence = _Sequence(job, facts, state, dict(compressed.named_parameters(remove_duplicate=False)), drawn)
    with ExitStack() as stack:
        for network, watch in ((job.model, sequence.remember), (compressed, sequence.refit)):
            watches = [(str(layer.module), watch(layer, mosaic[layer.parameter])) for layer in layers]
            stack.enter_context(watched(network, watches))
            stack.enter_context(last_scores_only(network))
        rebuild(job, facts, state, compressed, samples)


class _Sequence:
    """What watches the layers of both networks: the original's, which run first, and then those of the compressed one.

    Args:
        job: The fit.
        facts: Of its network.
        state: Levels.
        parameters: Of the compressed network, by its own names.
        drawn: Draws vectors; the same places of both networks.
    """

    def __init__(
        self, job: Job, facts: Survey, state: FitState, parameters: dict[str, nn.Parameter], drawn: Pass
    ) -> None:
        self.job, self.facts, self.state, self.parameters, self.drawn = job, facts, state, parameters, drawn
        self.before = MatrixStore(job.spool_directory)
        self.done: set[str] = set()
        self.dtypes = {info.name: (info.shape, info.dtype) for info in job.work.selection.chosen}

    def remember(self, layer: LayerWeight, own: LayerState) -> Watch:
        """Keep what reaches a layer when it first runs."""

        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            if own.name not in self.before:
                self.before[own.name] = self._vectors(layer, module, inputs)[0]

        return see

    def refit(self, layer: LayerWeight, own: LayerState) -> Watch:
        """Fit a layer anew right before it first runs."""

        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            if own.name in self.done or own.name not in self.before:
                return
            self.done.add(own.name)
            there, (here, places) = self.before[own.name].to(inputs.device), self._vectors(layer, module, inputs)
            if there.shape == here.shape:  # else other tokens reach it, as they do an expert
                self.state.targets[own.name] = self._targets(layer, own, there, here, places).cpu()
                refit(self.state, own)
                shape, dtype = self.dtypes[own.name]
                weight = own.weight(self.state.codebook.cpu(), shape).to(dtype)
                self.parameters[layer.own_name].copy_(weight)
            self.job.tell(STAGE, own.indices.numel(), self.state.blocks)

        return see

    def _targets(
        self, layer: LayerWeight, own: LayerState, there: torch.Tensor, here: torch.Tensor, places: int
    ) -> torch.Tensor:
        """What the layer is to be, from vectors (groups, m, columns) that reach it in the original and here."""
        samples = self.drawn.sampling.samples
        share, centred = places / samples, own.name in self.facts.centred
        halves = [own.scaled(half.cpu()) for half in _halves(there - here, here, share, centred=centred)]
        moments = torch.stack(_halves(here, here, share, centred=centred)).sum(dim=0).cpu()
        moments, _ = damped(shrunk(moments, independent_vectors(here.shape[1], samples)), 1)
        weight = self.job.checkpoint.read(own.name)
        original = normalised(weight, own.layout, own.scales, layer.groups, 1, own.columns)
        return corrected(original, own.scaled(moments), halves, CORRECTION)

    def _vectors(self, layer: LayerWeight, module: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, int]:
        # A generator of its own, so that the places are those of the other network.
        return self.drawn.vectors(layer, module, inputs, torch.Generator().manual_seed(self.job.settings.seed))


def _halves(left: torch.Tensor, right: torch.Tensor, places: float, *, centred: bool) -> list[torch.Tensor]:
    """Sums of left^T right (groups, columns, columns) over places in two parts that add up."""
    # Vectors are in the order of their samples: halves that shared samples would agree on what these have by chance.
    out = []
    for one, other in zip(left.chunk(2, dim=1), right.chunk(2, dim=1), strict=True):
        product = one.transpose(1, 2) @ other / max(one.shape[1], 1)
        if centred:
            product -= CENTRED * one.mean(dim=1)[:, :, None] * other.mean(dim=1)[:, None, :]
        out.append(product * places / 2)
    return out
