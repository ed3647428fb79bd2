"""What a calibrated fit is given."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from momos_compress.common.progress import Progress
from momos_compress.data.draws import CalibrationData
from momos_compress.planning.choices import Choices
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Job:
    """One calibrated fit, before anything is measured.

    Attributes:
        checkpoint: The weights.
        work: What is compressed, and how.
        model: The checkpoint's network, on the plan's device.
        data: What it is calibrated on.
        spool_directory: Where temporary files lie; None for the system's own place.
        tell: Told what has been done.
    """

    checkpoint: Checkpoint
    work: Plan
    model: nn.Module
    data: CalibrationData
    spool_directory: Path | None
    tell: Progress

    @property
    def settings(self) -> Choices:
        """The plan's settings."""
        return self.work.settings

    @property
    def device(self) -> str:
        """Where the network is."""
        return str(self.work.settings.device)
