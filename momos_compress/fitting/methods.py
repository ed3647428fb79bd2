"""Fitting methods: the table that ``Settings.method`` names an entry of.

Imports nothing heavy, so that the command line can list the methods at once.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from momos_compress.errors import MomosError
from momos_compress.fitting.faiss_library import load_faiss

if TYPE_CHECKING:
    import numpy as np

HESSIAN = "hessian"
"""The method taken where calibration inputs are given and no method is named."""


class BlockFit(Protocol):
    """Fits motifs to blocks alone."""

    def __call__(self, blocks: "np.ndarray", k: int, *, seed: int, device: str) -> "np.ndarray":
        """Find k motifs.

        Args:
            blocks: (n, s) float32, finite, n >= k >= 1. Without all-zero blocks where the zero motif is forced, unless
                the method draws.
            k: Number of motifs to find; the forced zero motif is not among them.
            seed: Decides every random choice: equal arguments give equal bytes.
            device: "cpu", or "cuda" where FAISS sees a GPU.

        Returns:
            (k, s) float32, finite.
        """
        ...


class NetworkFit(Protocol):
    """Fits motifs and mosaic to what a network computes on calibration inputs."""

    def __call__(
        self, checkpoint: Any, work: Any, model: Any, data: Any, *, spool_directory: Any, stages: Any, tell: Any
    ) -> Any:
        """Find motifs and the motif of every block.

        Args:
            checkpoint: ``Checkpoint``: the weights to compress.
            work: ``Plan``: the settings, the tensors taken part, and the number of motifs.
            model: The checkpoint's network with its weights, in eval mode on the plan's device.
            data: ``CalibrationData``: inputs of the network.
            spool_directory: Where temporary files may lie; None takes the system's place.
            stages: ``Stages``: collects times and memory of the method's stages.
            tell: ``Progress``: told the stage, what has been done since the last call, and the total.

        Returns:
            ``Calibrated``: the mosaic, the tensors that replace others stored beside it, the weights left out of it
            with their reasons, and warnings.
        """
        ...


@dataclass(frozen=True)
class Method:
    """One way to find motifs.

    Attributes:
        fit: The function, a ``NetworkFit`` where ``reads_network`` and else a ``BlockFit``; or "module:object", which
            is imported when a fit first wants it.
        reads_network: Whether it needs the checkpoint's network and calibration inputs.
        rates: Whether it weighs the file's bits against the error (``Settings.rate_weight``).
        draws: Whether motifs are blocks drawn as they come. Then the sample is as large as the codebook, and all-zero
            and repeated blocks take part; elsewhere few distinct blocks are kept exactly, without a fit.

    Examples:
        >>> import momos_compress as mc
        >>> from momos_compress.fitting.methods import METHODS
        >>> METHODS["random"] == mc.Method("momos_compress.fitting.random_draw:draw_motifs", draws=True)
        True
    """

    fit: BlockFit | NetworkFit | str
    reads_network: bool = False
    rates: bool = False
    draws: bool = False

    def load(self) -> Any:
        """The function itself, imported where ``fit`` names it."""
        if not isinstance(self.fit, str):
            return self.fit
        module, _, name = self.fit.partition(":")
        return getattr(import_module(module), name)


METHODS: dict[str, Method] = {
    HESSIAN: Method("momos_compress.calibration.run:fit_calibrated", reads_network=True, rates=True),
    "faiss": Method("momos_compress.fitting.kmeans:fit_faiss"),
    "sklearn": Method("momos_compress.fitting.kmeans:fit_sklearn"),
    "random": Method("momos_compress.fitting.random_draw:draw_motifs", draws=True),
}
"""Fitting methods by the name that ``Settings.method`` gives."""


def register_method(name: str, method: Method) -> None:
    """Add a fitting method to ``METHODS``.

    Args:
        name: What ``Settings.method`` will call it.
        method: How it fits and what it needs.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> import momos_compress as mc, momos_zoo
        >>> mc.register_method("first", mc.Method(lambda blocks, k, *, seed, device: blocks[:k]))
        >>> settings = mc.Settings(k=64, method="first", bdm=False)
        >>> mc.compress(mc.open_checkpoint("digits"), settings, "first.momos.safetensors").method
        'first'
        >>> del METHODS["first"]
    """
    if name in METHODS:
        raise ValueError(f"fitting method {name!r} is registered already")
    METHODS[name] = method


def get_method(name: str) -> Method:
    """The fitting method of this name.

    Raises:
        MomosError: There is none; the message lists the choices.
    """
    if name not in METHODS:
        raise MomosError(f"unknown method {name!r}; choose from {', '.join(sorted(METHODS))}")
    return METHODS[name]


def default_method() -> str:
    """The method for weights alone: ``faiss``, or ``sklearn`` where FAISS is not installed."""
    return "sklearn" if load_faiss() is None else "faiss"
