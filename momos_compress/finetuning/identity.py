"""What tells a run from any other, and what its record says of it."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from momos_compress.container.reader import MomosFile
from momos_compress.finetuning.samples import described
from momos_compress.finetuning.setup import TrainingSetup
from momos_compress.finetuning.splits import Splits
from momos_compress.sources.checkpoint import Checkpoint, describe_files

INCIDENTAL = ("workers", "save_every", "device", "complexity", "tracker")
"""Settings that change nothing about the weights that a run ends with."""


def identity_of(setup: TrainingSetup, files: Iterable[Path]) -> str:
    """Digest the network, the data and the settings of a run.

    Args:
        setup: What the run works with.
        files: The files that it begins with.
    """
    settings = dataclasses.asdict(setup.settings)
    parts = {
        "settings": {name: value for name, value in settings.items() if name not in INCIDENTAL},
        "files": [file["sha256"] for file in describe_files(files)],
        "original": None if setup.original is None else _named(setup.original),
        "data": describe_data(setup.splits),
        "loss": setup.loss,
        "compression": _compression(setup),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def describe_training(setup: TrainingSetup, identity: str, topology: dict[str, Any] | None) -> dict[str, Any]:
    """Gather what run.json says of a run before it has a result."""
    source = setup.source
    return {
        "identity": identity,
        "source": source.source if isinstance(source, Checkpoint) else str(source.path),
        "teacher": None if setup.original is None else setup.original.source,
        "settings": dataclasses.asdict(setup.settings),
        "compression": _compression(setup),
        "processes": setup.processes.count,
        "topology": topology,
        "data": describe_data(setup.splits),
        "torch": torch.__version__,
    }


def describe_data(splits: Splits) -> dict[str, Any]:
    """Describe each set that there is, by the names of the splits."""
    return {name: described(samples) for name, samples in vars(splits).items() if samples is not None}


def _compression(setup: TrainingSetup) -> dict[str, Any] | None:
    return None if isinstance(setup.source, MomosFile) else dataclasses.asdict(setup.compression)


def _named(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a network is, wherever it lies: its architecture and its files."""
    architecture = checkpoint.architecture
    return {
        "architecture": None if architecture is None else architecture.to_json(),
        "files": [file["sha256"] for file in describe_files(checkpoint.files)],
    }
