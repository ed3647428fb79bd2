"""Networks that compute with a mosaic: weights as motifs[mosaic] times scales, through torch's parametrisations.

What a network computes with is at every step exactly what its file would decode to: motifs and scales are rounded to
what is stored on the way in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.modules.codebook import Codebook
from momos_compress.modules.mosaic_weight import MosaicWeight
from momos_compress.mosaic.scales import round_scales
from momos_compress.networks.layers import own_names


class MosaicNetwork:
    """A network whose compressed weights are parametrised by one codebook.

    Attributes:
        model: The network; ``momos_codebook`` among its submodules is the codebook.
        file: The file that the mosaic comes from.
        codebook: The motifs.
        codes: By the file's name of a tensor, the codes of its rows' scales (rows,), empty where it has none.
    """

    def __init__(
        self,
        model: nn.Module,
        file: MomosFile,
        codebook: Codebook,
        codes: Mapping[str, nn.Parameter],
        places: Mapping[str, str],
    ) -> None:
        """Hold a parametrised network; ``places`` are the network's names of the tensors by the file's."""
        self.model, self.file, self.codebook, self.codes, self._places = model, file, codebook, codes, places

    def weight(self, name: str) -> torch.Tensor:
        """The compressed weight of this name in the file, as it is decoded now."""
        path, _, attribute = self._places[name].rpartition(".")
        weight: torch.Tensor = getattr(self.model.get_submodule(path), attribute)
        return weight.detach()

    def vectors(self) -> dict[str, nn.Parameter]:
        """Parameters of at most one dimension beside the mosaic, such as norms and biases, by the network's names."""
        held = {id(self.codebook.motifs), *map(id, self.codes.values())}
        return {name: p for name, p in self.model.named_parameters() if id(p) not in held and p.ndim < 2}

    def stored_codes(self) -> Mapping[str, torch.Tensor]:
        """The codes as they are stored, (rows,) uint8, by the file's name of each tensor that has some."""
        return {name: round_scales(codes.detach()).cpu() for name, codes in self.codes.items() if len(codes)}


def parametrise(model: nn.Module, file: MomosFile) -> MosaicNetwork:
    """Let a network compute with a file's mosaic, so that motifs and scales can be trained.

    Args:
        model: The network that the file was made from; it is changed in place, to float32.
        file: A compressed file.

    Raises:
        MomosError: The mosaic has a tensor that the network lacks, or has in another shape.
    """
    model = model.float()
    recipe = file.recipe
    parameters = dict(model.named_parameters(remove_duplicate=False))
    own = own_names(model, recipe.tensors)
    _check_fits(model, file, parameters, own)
    device = next(iter(parameters.values())).device
    dtype = "int8" if recipe.codebook_step is not None else str(file.entries["momos.codebook"].torch_dtype)
    codebook = Codebook(file.codebook.to(device), dtype.removeprefix("torch."))
    model.momos_codebook = codebook  # a submodule, so that it is trained, moved and saved with the network
    codes: dict[str, nn.Parameter] = {}
    for name, tensor in recipe.tensors.items():
        codes_of = file.scale_codes(name), file.column_codes(name)
        mosaic = MosaicWeight(codebook, file.indices(name), *codes_of, tensor.layout, tensor.shape)
        mosaic = mosaic.to(device)
        tied = [place for place, other in parameters.items() if other is parameters[own[name]]]
        codes[name] = _parametrise_places(model, tied, mosaic)
    return MosaicNetwork(model, file, codebook, codes, {name: own[name] for name in recipe.tensors})


def _check_fits(
    model: nn.Module, file: MomosFile, parameters: Mapping[str, nn.Parameter], own: Mapping[str, str]
) -> None:
    missing = [name for name in file.recipe.tensors if own.get(name) not in parameters]
    if missing:
        raise MomosError(f"{file.path}: its mosaic does not fit {type(model).__name__}, which has no {missing[0]}")
    for name, tensor in file.recipe.tensors.items():
        shape = parameters[own[name]].shape
        if tuple(shape) != tensor.shape:
            raise MomosError(
                f"{file.path}: its mosaic does not fit {type(model).__name__}: {name} is {list(tensor.shape)} there "
                f"and {list(shape)} in the network"
            )


def _parametrise_places(model: nn.Module, places: Sequence[str], mosaic: MosaicWeight) -> nn.Parameter:
    """Put one mosaic in the place of a weight that has these names; returns the codes, which all of them share."""
    codes: nn.Parameter | None = None
    for place in places:
        path, _, attribute = place.rpartition(".")
        module = model.get_submodule(path)
        # unsafe: the codes have neither the weight's shape nor is decoding them a projection of it.
        parametrize.register_parametrization(module, attribute, mosaic, unsafe=True)
        held: Any = module.parametrizations[attribute]  # type: ignore[index]
        if codes is not None:
            held.original = codes
        codes = held.original
    assert codes is not None
    codes.requires_grad_(len(codes) > 0)
    return codes
