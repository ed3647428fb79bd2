"""What to run on: architectures that timm lacks, and the embedded demo.

Importing it registers the architectures with timm, ``digits`` as a source and as a data set, and ``digits-train``.
"""

from functools import partial
from pathlib import Path

from momos_compress.data.registry import register_dataset
from momos_compress.sources.open import NamedSource, register_source
from momos_zoo import cifar_mobilenet, cifar_resnet, cifar_vit, mlp
from momos_zoo.digits import Digits, weights_path

__all__ = ["FIGURE_2", "Digits", "cifar_mobilenet", "cifar_resnet", "cifar_vit", "mlp", "weights_path"]

FIGURE_2 = Path(__file__).with_name("figure2.toml")
"""The list of the 110 models of Figure 2."""

register_source("digits", NamedSource(weights_path, data="digits", train="digits-train"))
register_dataset("digits", partial(Digits, "test"))
register_dataset("digits-train", partial(Digits, "train"))
