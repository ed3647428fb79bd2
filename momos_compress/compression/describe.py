"""What a recipe tells of the run that made it."""

import importlib.metadata
from typing import Any

from momos_compress.networks.fidelity import FIDELITY, Fidelity
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint


def describe_run(
    checkpoint: Checkpoint, work: Plan, *, steps: str | None = None, fidelity: Fidelity | None = None
) -> dict[str, Any]:
    """Gather the recipe's descriptive entries (docs/format.md); data decode without them.

    Args:
        checkpoint: What was compressed.
        work: How.
        steps: Samples, passes, rounds and epochs of a calibrated fit.
        fidelity: How the outputs differ from the original's; None where that was not measured.
    """
    settings = work.settings
    record: dict[str, Any] = {
        "capacity": settings.c,
        **({} if settings.bits is None else {"bits": settings.bits}),
        "k_requested": work.k,
        "method": settings.method,
        "protocol": settings.protocol,
        "seed": settings.seed,
        **({} if steps is None else {"steps": steps}),
        "zero_motif": settings.zero_motif,
        "source": checkpoint.provenance,
        "architecture": checkpoint.architecture.to_json() if checkpoint.architecture else None,
        "versions": {name: importlib.metadata.version(name) for name in ("momos-compress", "torch", "numpy")},
    }
    return record if fidelity is None else record | {FIDELITY: fidelity.to_recipe()}
