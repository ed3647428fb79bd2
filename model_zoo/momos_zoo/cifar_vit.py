"""A small Vision Transformer (arXiv 2010.11929) for CIFAR-10, registered with timm.

timm's own are made for 224 x 224 pixels; this is its class with patches of 4 x 4 over 32 x 32, so 64 tokens, whose mean
is classified: there is no class token.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

__all__ = ["cifar_vit"]

default_cfgs = generate_default_cfgs(
    {
        "cifar_vit.untrained": {
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def cifar_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Six blocks of width 128 with four heads, hidden layers of 256: 810,890 parameters."""
    settings = {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 128,
        "depth": 6,
        "num_heads": 4,
        "mlp_ratio": 2.0,
        "class_token": False,
        "global_pool": "avg",
    }
    return build_model_with_cfg(VisionTransformer, "cifar_vit", pretrained, **{**settings, **kwargs})
