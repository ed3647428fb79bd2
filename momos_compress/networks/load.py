"""From a compressed file, or a checkpoint, back to a network that runs."""

from pathlib import Path

from torch import nn

from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.sources.architecture import Architecture
from momos_compress.sources.checkpoint import Checkpoint


def architecture_of(file: MomosFile) -> Architecture | None:
    """The architecture that a compressed file names, or None."""
    record = file.recipe.extra.get("architecture")
    return None if record is None else Architecture.from_json(record)  # checks that it is an object at all


def load_model(path: str | Path, *, device: str = "cpu") -> nn.Module:
    """The network of a compressed file with its decoded weights, in eval mode: timm's or transformers' own class.

    Raises MomosError where the file names no architecture, or one whose library or registering package is not there.
    """
    file = MomosFile(path)
    architecture = architecture_of(file)
    if architecture is None:
        raise MomosError(f"{path} names no architecture; compress with --arch NAME, or read its tensors with load_file")
    # The file's aliases are tied again by the model itself, so giving both names costs nothing.
    return architecture.with_weights({name: file.get(name) for name in file}).to(device)


def model_of(checkpoint: Checkpoint, *, device: str = "cpu") -> nn.Module:
    """The network of a dense checkpoint with its weights, in eval mode; MomosError where no architecture is known."""
    if checkpoint.architecture is None:
        raise MomosError(
            f"{checkpoint.source} names no architecture, which running it needs; name one with --arch NAME"
        )
    state = {info.name: checkpoint.read(info.name) for info in checkpoint.tensors.infos}
    state |= {name: state[target] for name, target in checkpoint.tensors.aliases.items()}
    return checkpoint.architecture.with_weights(state).to(device)
