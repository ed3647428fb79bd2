"""The paper's scheme (arXiv 2602.14896): weights train freely, and are projected onto motifs after each epoch."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from momos_compress.blocks import FLAT, iter_blocks
from momos_compress.calibration.layers import own_names
from momos_compress.checkpoint import Checkpoint
from momos_compress.mosaic import Mosaic, MosaicBuilder
from momos_compress.pipeline import fit_checkpoint
from momos_compress.plan import plan
from momos_compress.settings import Settings


def of_network(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """The checkpoint with what its network holds now in place of its own values."""
    state = model.state_dict(keep_vars=True)
    own = own_names(model, [info.name for info in checkpoint.tensors.infos])

    def read(name: str) -> torch.Tensor:
        if name not in own:
            return checkpoint.read(name)
        held: torch.Tensor = state[own[name]]
        return held.detach().cpu()

    return replace(checkpoint, tensors=replace(checkpoint.tensors, read=read))


def project_network(checkpoint: Checkpoint, model: nn.Module, settings: Settings, epoch: int) -> Mapping[str, float]:
    """Project the network's weights in place, onto motifs drawn anew; returns what the paper follows over epochs.

    distortion: D, the sum of squared differences. changed: how many weights differ afterwards. motifs: how many are in
    use of the k. entropy: of a block's motif, in bits.
    """
    now = of_network(checkpoint, model)
    work = plan(now, replace(settings, seed=settings.seed + epoch))
    mosaic = fit_checkpoint(now, work, None, tell=lambda *told: None).mosaic
    motifs = mosaic.codebook.float()
    own = own_names(model, [tensor.name for tensor in mosaic.tensors])
    parameters = dict(model.named_parameters(remove_duplicate=False))
    changed = 0
    for tensor in mosaic.tensors:
        indices = torch.from_numpy(np.concatenate(list(mosaic.indices(tensor))).astype(np.int64))
        weight = parameters[own[tensor.name]]
        projected = tensor.layout.join(motifs[indices], tensor.shape).to(weight)
        changed += int((projected != weight).sum())
        with torch.no_grad():
            weight.copy_(projected)
    used = int((mosaic.usage > 0).sum())
    return {"distortion": mosaic.distortion, "changed": changed, "motifs": used, "entropy": mosaic.entropy}


def mosaic_of(checkpoint: Checkpoint, settings: Settings) -> Mosaic:
    """The mosaic of a checkpoint that has been projected: each distinct block is a motif, and nothing is lost."""
    work = plan(checkpoint, settings)
    names = work.selection.chosen
    pieces = [np.concatenate(list(iter_blocks(checkpoint.read(info.name), settings.s))) for info in names]
    motifs, indices = np.unique(np.concatenate(pieces), axis=0, return_inverse=True)
    builder, done = MosaicBuilder(len(motifs)), 0
    for info, blocks in zip(names, pieces, strict=True):
        builder.add(info, indices.reshape(-1)[done : done + len(blocks)], 0.0, FLAT)
        done += len(blocks)
    energy = sum(float(np.square(blocks, dtype=np.float64).sum()) for blocks in pieces)
    return builder.finish(torch.from_numpy(motifs), energy=energy, sampled_blocks=0)
