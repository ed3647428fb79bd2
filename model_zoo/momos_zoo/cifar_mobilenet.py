"""A small network of inverted residuals (MobileNetV2, arXiv 1801.04381) for CIFAR-10, registered with timm.

Made of timm's blocks: a 1 x 1 convolution that widens, a depthwise 3 x 3 one, a 1 x 1 one that narrows, each with
BatchNorm. Three halvings of the resolution in place of MobileNetV2's five, and none of them in the stem: 32 x 32 pixels
do not allow for more.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import nn

__all__ = ["CifarMobileNet"]

# timm's notation: ds = depthwise-separable, ir = inverted residual; r repeats, k kernel, s stride, e expansion, c width
STAGES = [["ds_r1_k3_s1_c16"], ["ir_r2_k3_s2_e3_c24"], ["ir_r3_k3_s2_e4_c48"], ["ir_r3_k3_s2_e4_c96"]]


class CifarMobileNet(EfficientNet):  # type: ignore[misc]  # timm has no types
    """timm's network of such blocks with a stem that keeps the resolution, which timm's own always halves.

    Input (b, in_chans, h, w), output (b, num_classes) logits.
    """

    def __init__(self, **kwargs: Any) -> None:
        settings = {"num_classes": 10, "num_features": 256, "stem_size": 16, "act_layer": nn.ReLU6, "round_chs_fn": int}
        super().__init__(decode_arch_def(STAGES), **{**settings, **kwargs})
        self.conv_stem.stride = (1, 1)
        for info in self.feature_info:
            info["reduction"] //= 2


default_cfgs = generate_default_cfgs(
    {
        "cifar_mobilenet.untrained": {
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "pool_size": (4, 4),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "conv_stem",
            "classifier": "classifier",
        }
    }
)


@register_model
def cifar_mobilenet(pretrained: bool = False, **kwargs: Any) -> CifarMobileNet:
    """Nine depthwise-separable blocks of 16 to 96 channels: 274,082 parameters."""
    model: CifarMobileNet = build_model_with_cfg(CifarMobileNet, "cifar_mobilenet", pretrained, **kwargs)
    return model
