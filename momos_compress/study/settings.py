"""What a study may be asked for. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from momos_compress.measures.settings import MeasureSettings
from momos_compress.settings import Device, seed_setting, setting, settings_group

BaselineKind = Literal["reinitialised", "shuffled"]


@dataclass(frozen=True)
class StudySettings:
    """One study's choices."""

    seeds: int = setting(3, help="Re-initialised and shuffled copies of each model.", least=1)
    seed: int = seed_setting("The first copy's seed; the others' follow it.")
    pretrained: bool = setting(True, help="`pretrained=False` studies random weights: the study's control.")
    measures: MeasureSettings = settings_group(MeasureSettings, help="What is measured of each model and its copies.")
    device: Device = setting("auto", help="auto takes the GPU where there is one.")
