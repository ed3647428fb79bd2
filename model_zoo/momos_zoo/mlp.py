"""The multilayer perceptron of the Mosaic-of-Motifs paper (arXiv 2602.14896), registered with timm."""

from itertools import pairwise
from typing import Any

from timm.layers import to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

__all__ = ["Mlp"]


class Mlp(nn.Module):
    """Four hidden layers of 256 units with ReLU over flattened images.

    Input (b, in_chans, img_size, img_size), output (b, num_classes) logits.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        hidden: int = 256,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, hidden
        height, width = to_2tuple(img_size)
        widths = [in_chans * height * width, *[hidden] * depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(hidden, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The last linear layer, as timm's models name it."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; 0 classes leaves the last hidden features (b, hidden)."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """(b, in_chans, h, w) -> (b, hidden)."""
        out: Tensor = self.layers(x.flatten(1))
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(b, hidden) -> logits (b, num_classes), or the features with ``pre_logits``."""
        if pre_logits:
            return x
        out: Tensor = self.head(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, in_chans, h, w) -> logits (b, num_classes)."""
        return self.forward_head(self.forward_features(x))


default_cfgs = generate_default_cfgs(
    {
        "momos_mlp.untrained": {
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": None,
            "classifier": "head",
        },
        "digits_mlp.untrained": {
            "num_classes": 10,
            "input_size": (1, 8, 8),
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.5,),
            "std": (0.5,),
            "first_conv": None,
            "classifier": "head",
        },
    }
)


@register_model
def momos_mlp(pretrained: bool = False, **kwargs: Any) -> Mlp:
    """The paper's MLP; ``in_chans=1, img_size=28`` for MNIST and FashionMNIST."""
    model: Mlp = build_model_with_cfg(Mlp, "momos_mlp", pretrained, **kwargs)
    return model


@register_model
def digits_mlp(pretrained: bool = False, **kwargs: Any) -> Mlp:
    """The same for the embedded digits, one channel of 8 x 8: 216,586 parameters."""
    model: Mlp = build_model_with_cfg(Mlp, "digits_mlp", pretrained, **{"in_chans": 1, "img_size": 8, **kwargs})
    return model
