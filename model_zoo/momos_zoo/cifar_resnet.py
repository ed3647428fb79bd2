"""The CIFAR-10 residual networks of He et al. 2015 (arXiv 1512.03385, section 4.2), registered with timm.

timm's own ResNets are the ImageNet family; these are the three-stage networks with 16, 32 and 64 channels and
parameter-free ("option A") shortcuts, under the parameter names used by the weights published for them.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CifarResNet"]


class OptionAShortcut(nn.Module):
    """Identity for a block that halves the resolution: take every second pixel, pad the new channels with zeros.

    Input (b, c_in, h, w), output (b, c_out, ceil(h / 2), ceil(w / 2)); no parameters.
    """

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        before = (out_chans - in_chans) // 2
        self.padding = (0, 0, 0, 0, before, out_chans - in_chans - before)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], self.padding)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm and an identity shortcut."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_chans)
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_chans)
        same = stride == 1 and in_chans == out_chans
        self.shortcut = nn.Identity() if same else OptionAShortcut(in_chans, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def _stage(in_chans: int, out_chans: int, blocks: int) -> nn.Sequential:
    """``blocks`` basic blocks; the first one halves the resolution where the number of channels grows."""
    first = BasicBlock(in_chans, out_chans, stride=1 if in_chans == out_chans else 2)
    return nn.Sequential(first, *(BasicBlock(out_chans, out_chans, stride=1) for _ in range(blocks - 1)))


class CifarResNet(nn.Module):
    """A residual network of ``depth`` = 6 n + 2 layers: n basic blocks in each of three stages.

    Input (b, in_chans, h, w), output (b, num_classes) logits.
    """

    def __init__(self, depth: int = 20, num_classes: int = 10, in_chans: int = 3, drop_rate: float = 0.0) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n >= 1, not {depth}")
        self.num_classes, self.num_features, self.drop_rate = num_classes, 64, drop_rate
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = (depth - 2) // 6
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def get_classifier(self) -> nn.Module:
        """The last linear layer, as timm's models name it."""
        return self.linear

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; 0 classes leaves the pooled features (b, 64)."""
        self.num_classes = num_classes
        self.linear = nn.Linear(64, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """(b, in_chans, h, w) -> (b, 64, h', w')."""
        x = functional.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(b, 64, h', w') -> logits (b, num_classes), or the pooled features with ``pre_logits``."""
        x = functional.dropout(x.mean(dim=(2, 3)), self.drop_rate, self.training)
        if pre_logits:
            return x
        out: Tensor = self.linear(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, in_chans, h, w) -> logits (b, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _cfg(**overrides: Any) -> dict[str, Any]:
    return {
        "num_classes": 10,
        "input_size": (3, 32, 32),
        "pool_size": (8, 8),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "conv1",
        "classifier": "linear",
        **overrides,
    }


_DIGITS = {"input_size": (1, 8, 8), "pool_size": (2, 2), "mean": (0.305,), "std": (0.376,)}

default_cfgs = generate_default_cfgs(
    {
        "cifar_resnet20.untrained": _cfg(),
        "cifar_resnet32.untrained": _cfg(),
        "cifar_resnet44.untrained": _cfg(),
        "cifar_resnet56.untrained": _cfg(),
        "digits_resnet8.untrained": _cfg(**_DIGITS),
    }
)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> CifarResNet:
    model: CifarResNet = build_model_with_cfg(CifarResNet, variant, pretrained, **kwargs)
    return model


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-20 for CIFAR-10: 269,722 parameters."""
    return _create("cifar_resnet20", pretrained, depth=20, **kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-32 for CIFAR-10: 464,154 parameters."""
    return _create("cifar_resnet32", pretrained, depth=32, **kwargs)


@register_model
def cifar_resnet44(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-44 for CIFAR-10: 658,586 parameters."""
    return _create("cifar_resnet44", pretrained, depth=44, **kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-56 for CIFAR-10: 853,018 parameters."""
    return _create("cifar_resnet56", pretrained, depth=56, **kwargs)


@register_model
def digits_resnet8(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """The demo's network: eight layers over one-channel 8 x 8 images."""
    return _create("digits_resnet8", pretrained, **{"depth": 8, "in_chans": 1, **kwargs})
