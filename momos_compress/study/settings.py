"""What a study may be asked for. Imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Literal

from momos_compress.measures.settings import MeasureSettings
from momos_compress.settings import Device

BaselineKind = Literal["reinitialised", "shuffled"]


@dataclass(frozen=True)
class StudySettings:
    """One study's choices; the one home of their defaults.

    seeds: how many re-initialised and shuffled copies each model is compared with, from ``seed`` on.
    pretrained: False studies random weights, the study's own control.
    """

    seeds: int = 3
    seed: int = 0
    pretrained: bool = True
    measures: MeasureSettings = field(default_factory=MeasureSettings)
    device: Device = "auto"
