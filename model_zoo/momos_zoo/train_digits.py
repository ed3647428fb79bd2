"""Train the demo network and write its weights: ``python -m momos_zoo.train_digits``.

Seeded; about half a minute on two cores. The file in the package came from this script.
"""

import json
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.data import create_loader, resolve_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

import momos_zoo  # noqa: F401  registers digits_resnet8 with timm
from momos_zoo.digits import Digits, weights_path

EPOCHS = 40
ARCHITECTURE = "digits_resnet8"


def train(seed: int = 0, epochs: int = EPOCHS) -> torch.nn.Module:
    """Train on the 1,347 training images with small random shifts; returns the network in eval mode."""
    torch.manual_seed(seed)
    model: torch.nn.Module = timm.create_model(ARCHITECTURE)
    config = resolve_data_config({}, model=model)
    loader = create_loader(
        Digits("train"),
        input_size=config["input_size"],
        batch_size=64,
        is_training=True,
        no_aug=True,
        mean=config["mean"],
        std=config["std"],
        num_workers=0,
        persistent_workers=False,
        use_prefetcher=False,
    )
    optimizer = create_optimizer_v2(model, opt="adamw", lr=3e-3, weight_decay=0.05)
    scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=2)
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(epochs):
        model.train()
        for images, targets in loader:
            shift = torch.randint(-1, 2, (2,)).tolist()
            loss = loss_fn(model(torch.roll(images, shift, dims=(2, 3))), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step(epoch + 1)
    return model.eval()


def save(model: torch.nn.Module, path: Path) -> None:
    """Write the weights with the metadata that lets them be loaded by name alone."""
    config = resolve_data_config({}, model=model)
    metadata = {
        "architecture": ARCHITECTURE,
        "num_classes": "10",
        "input_size": ",".join(map(str, config["input_size"])),
        "mean": ",".join(map(str, config["mean"])),
        "std": ",".join(map(str, config["std"])),
        "training": json.dumps({"script": "momos_zoo.train_digits", "epochs": EPOCHS, "seed": 0}),
    }
    save_file(dict(model.state_dict()), path, metadata=metadata)


if __name__ == "__main__":
    save(train(), weights_path())
    print(f"wrote {weights_path()}")
