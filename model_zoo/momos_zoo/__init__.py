"""What to run on: architectures that timm lacks, and the embedded demo.

Importing it registers the architectures with timm, and ``digits`` as a source and as a data set.
"""

from functools import partial

from momos_compress.accuracy import register_dataset
from momos_compress.sources import NamedSource, register_source
from momos_zoo import cifar_resnet, mlp
from momos_zoo.digits import Digits, weights_path

__all__ = ["Digits", "cifar_resnet", "mlp", "weights_path"]

register_source("digits", NamedSource(weights_path, data="digits"))
register_dataset("digits", partial(Digits, "test"))
