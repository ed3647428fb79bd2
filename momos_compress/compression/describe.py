"""What a recipe tells of the run that made it."""

import importlib.metadata
from typing import Any

from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint


def describe_run(checkpoint: Checkpoint, work: Plan) -> dict[str, Any]:
    """Gather the recipe's descriptive entries (docs/format.md); data decode without them."""
    settings = work.settings
    return {
        "capacity": settings.c,
        "k_requested": work.k,
        "method": settings.method,
        "protocol": settings.protocol,
        "seed": settings.seed,
        "zero_motif": settings.zero_motif,
        "source": checkpoint.provenance,
        "architecture": checkpoint.architecture.to_json() if checkpoint.architecture else None,
        "versions": {name: importlib.metadata.version(name) for name in ("momos-compress", "torch", "numpy")},
    }
