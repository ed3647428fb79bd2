"""The paper's scheme (arXiv 2602.14896): weights train freely, and are projected onto motifs after each epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from momos_compress.compression.fit import fit_checkpoint
from momos_compress.mosaic.blocks import FLAT, iter_blocks
from momos_compress.mosaic.mosaic import Mosaic, MosaicBuilder
from momos_compress.networks.layers import own_names
from momos_compress.planning.plan import plan
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class FreeNetwork:
    """A network whose weights train freely.

    Attributes:
        checkpoint: What it was made from.
        model: The network, which is changed in place.
        own: Name in the checkpoint -> name in the network.
        weights: Name in the checkpoint -> the parameter that trains, before any rounding.
    """

    checkpoint: Checkpoint
    model: nn.Module
    own: Mapping[str, str]
    weights: Mapping[str, nn.Parameter]

    def free(self) -> Checkpoint:
        """Take the parameters as they train, before any rounding, as a checkpoint."""
        return self._with(lambda name: self.weights[name] if name in self.weights else self._held(name))

    def computed(self) -> Checkpoint:
        """Take what the network computes with as a checkpoint."""
        return self._with(self._held)

    def project(self, settings: Settings, epoch: int) -> Mapping[str, float]:
        """Project the weights in place, onto motifs drawn anew.

        Args:
            settings: The paper's protocol, with its capacity and block size.
            epoch: Added to the seed, so that every epoch draws other motifs.

        Returns:
            What the paper follows over epochs: "distortion" D, the sum of squared differences; "changed", how many
            weights differ afterwards; "motifs", how many of the k are in use; "entropy" of a block's motif, in bits.
        """
        now = self.free()
        work = plan(now, replace(settings, seed=settings.seed + epoch))
        mosaic = fit_checkpoint(now, work, None).mosaic
        motifs = mosaic.codebook.float()
        changed = 0
        for tensor in mosaic.tensors:
            indices = torch.from_numpy(np.concatenate(list(mosaic.indices(tensor))).astype(np.int64))
            weight = self.weights[tensor.name]
            projected = tensor.layout.join(motifs[indices], tensor.shape).to(weight)
            changed += int((projected != weight).sum())
            with torch.no_grad():
                weight.copy_(projected)
        used = int((mosaic.usage > 0).sum())
        return {"distortion": mosaic.distortion, "changed": changed, "motifs": used, "entropy": mosaic.entropy}

    def _held(self, name: str) -> torch.Tensor:
        path, _, attribute = self.own[name].rpartition(".")
        held: torch.Tensor = getattr(self.model.get_submodule(path), attribute)
        return held

    def _with(self, held: Callable[[str], torch.Tensor]) -> Checkpoint:
        def read(name: str) -> torch.Tensor:
            return held(name).detach().cpu() if name in self.own else self.checkpoint.read(name)

        return replace(self.checkpoint, tensors=replace(self.checkpoint.tensors, read=read))


def free_network(checkpoint: Checkpoint, model: nn.Module) -> FreeNetwork:
    """Find the parameters of ``model``, the network of ``checkpoint``; before they are parametrised."""
    own = own_names(model, [info.name for info in checkpoint.tensors.infos])
    parameters = dict(model.named_parameters(remove_duplicate=False))
    weights = {name: parameters[place] for name, place in own.items() if place in parameters}
    return FreeNetwork(checkpoint, model, own, weights)


def mosaic_of(checkpoint: Checkpoint, settings: Settings) -> Mosaic:
    """Read the mosaic off a checkpoint that has been projected: each distinct block is a motif, nothing is lost."""
    work = plan(checkpoint, settings)
    names = work.selection.chosen
    pieces = [np.concatenate(list(iter_blocks(checkpoint.read(info.name), work.settings.s))) for info in names]
    motifs, indices = np.unique(np.concatenate(pieces), axis=0, return_inverse=True)
    builder, done = MosaicBuilder(len(motifs)), 0
    for info, blocks in zip(names, pieces, strict=True):
        builder.add(info, indices.reshape(-1)[done : done + len(blocks)], 0.0, FLAT)
        done += len(blocks)
    energy = sum(float(np.square(blocks, dtype=np.float64).sum()) for blocks in pieces)
    return builder.finish(torch.from_numpy(motifs), energy=energy, sampled_blocks=0)
