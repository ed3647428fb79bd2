"""From a compressed file, or a checkpoint, back to a network that runs."""

from pathlib import Path

import torch
from torch import nn

from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.sources.architecture import Architecture
from momos_compress.sources.checkpoint import Checkpoint


def architecture_of(file: MomosFile) -> Architecture | None:
    """The architecture that a compressed file names, or None.

    Raises:
        MomosError: The file's record of it is malformed.
    """
    record = file.recipe.extra.get("architecture")
    return None if record is None else Architecture.from_json(record)  # checks that it is an object at all


def load_model(path: str | Path, *, device: str = "cpu") -> nn.Module:
    """Load the network of a compressed file with its decoded weights.

    Args:
        path: A compressed file.
        device: Where the network goes, as torch names it.

    Returns:
        The network, in eval mode: timm's or transformers' own class.

    Raises:
        FormatError: The file is damaged.
        MomosError: The file names no architecture, or one whose library or registering package is not there.

    Examples:
        >>> import torch, momos_compress as mc, momos_zoo  # momos_zoo knows the demo's architecture
        >>> model = mc.load_model("digits.momos.safetensors")
        >>> model(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 10])
    """
    file = MomosFile(path)
    architecture = architecture_of(file)
    if architecture is None:
        raise MomosError(
            f"{path} names no architecture; compress with `arch='NAME'`, or read its tensors with load_file"
        )
    # The file's aliases are tied again by the model itself, so giving both names costs nothing.
    return architecture.with_weights({name: file.get(name) for name in file}).to(device)


def lay_out_for_speed(model: nn.Module, device: str) -> None:
    """Lay out the weights of convolutions in place so that they run fastest; their values stay.

    On a processor that is with the channels last: EfficientNet-Lite0 takes half the time then.
    """
    if torch.device(device).type == "cpu":
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)


def model_of(checkpoint: Checkpoint, *, device: str = "cpu") -> nn.Module:
    """Build the network of a dense checkpoint with its weights, in eval mode.

    Raises:
        MomosError: No architecture is known.
    """
    if checkpoint.architecture is None:
        raise MomosError(
            f"{checkpoint.source} names no architecture, which running it needs; name one with `arch='NAME'`"
        )
    state = {info.name: checkpoint.read(info.name) for info in checkpoint.tensors.infos}
    state |= {name: state[target] for name, target in checkpoint.tensors.aliases.items()}
    return checkpoint.architecture.with_weights(state).to(device)
