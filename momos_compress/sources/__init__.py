"""Where checkpoints come from: timm, transformers, the hub, files."""
