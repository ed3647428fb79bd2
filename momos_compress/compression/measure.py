"""What is measured of a checkpoint and of the file made from it: complexity of weights, accuracy, outputs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from momos_compress.common.progress import Progress
from momos_compress.common.stages import Stages
from momos_compress.compression.fit import NetworkInputs
from momos_compress.measures.bdm import bdm_range, sign_bdm
from momos_compress.measures.ctm import STRING_LENGTH, string_complexities
from momos_compress.networks.accuracy import evaluate
from momos_compress.networks.fidelity import Fidelity
from momos_compress.networks.load import model_of
from momos_compress.networks.meters import Meter, output_meter
from momos_compress.planning.plan import Plan
from momos_compress.sources.baseline import baseline_tensors, choose_baseline, measured_names
from momos_compress.sources.checkpoint import Checkpoint

SEEN_SAMPLES = 64
"""Samples of the calibration at most that outputs are compared on where none are held out."""


@dataclass(frozen=True)
class Complexity:
    """BDM of a checkpoint's signs, and of the random weights that it is compared with.

    Attributes:
        bits: BDM of the checkpoint, in bits.
        baseline_bits: BDM of the baseline, in bits.
        baseline: What the baseline is, in words.
        range_bits: The least and the greatest BDM that as many weights can have, in bits.
    """

    bits: float
    baseline_bits: float
    baseline: str
    range_bits: tuple[float, float]


@dataclass(frozen=True)
class Before:
    """What is measured before compression; None where it was not asked for.

    Attributes:
        complexity: Complexity of the weights.
        top1: Accuracy of the network, in per cent.
    """

    complexity: Complexity | None
    top1: float | None


def measure_before(checkpoint: Checkpoint, work: Plan, data: str | None, stages: Stages, progress: Progress) -> Before:
    """Measure a checkpoint: its accuracy on ``data``, where that is named, and its complexity, where asked for."""
    top1 = None
    if data is not None:
        with stages.stage("accuracy before"):
            model = model_of(checkpoint, device=work.settings.device)
            top1 = top1_of(model, data, work.settings.device, "accuracy before", progress)
    return Before(_complexity(checkpoint, work, stages, progress) if work.settings.bdm else None, top1)


def _complexity(checkpoint: Checkpoint, work: Plan, stages: Stages, progress: Progress) -> Complexity:
    names, stage = measured_names(checkpoint), "complexity before"
    baseline = choose_baseline(checkpoint, seed=work.settings.seed)
    with stages.stage(stage):
        bits = sign_bdm(counted(map(checkpoint.read, names), stage, work.parameters, progress))
    stage = "complexity of baseline"
    with stages.stage(stage):
        random = (tensor for _, tensor in baseline_tensors(checkpoint, baseline))
        baseline_bits = sign_bdm(counted(random, stage, work.parameters, progress))
    measured = set(names)
    weights = sum(info.values for info in checkpoint.tensors.infos if info.name in measured)
    return Complexity(bits, baseline_bits, baseline.note, bdm_range(weights // STRING_LENGTH, string_complexities()))


def top1_of(model: torch.nn.Module, data: str, device: str, stage: str, progress: Progress) -> float:
    """Top-1 accuracy on labelled images, in per cent; ``progress`` is told of ``stage`` in images."""
    return evaluate(model, data, device=device, progress=lambda _, done, total: progress(stage, done, total)).top1


def fidelity_meter(network: NetworkInputs, device: str) -> Meter[Fidelity]:
    """Make the meter of a file's outputs: on what was held out of the calibration, or else on what it has seen."""
    data = network.data
    if data.held_out is not None:
        return output_meter(network.model, data.held_out, held_out=True, device=device)
    count = min(SEEN_SAMPLES, data.samples)
    of = data.description if count == data.samples else f"{count:,} of {data.description}"
    seen = replace(data, samples=count, description=f"{of} that it was calibrated on: none were held out")
    return output_meter(network.model, seen, held_out=False, device=device)


def counted(tensors: Iterator[torch.Tensor], stage: str, total: int, progress: Progress) -> Iterator[torch.Tensor]:
    """Pass tensors on, and tell ``progress`` of ``stage`` in values."""
    progress(stage, 0, total)
    for tensor in tensors:
        yield tensor
        progress(stage, tensor.numel(), total)
