"""The record of one compression."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from momos_compress.common.stages import Stage


@dataclass(frozen=True)
class Report:
    """What a run did. Sizes in bytes, BDM in bits, accuracies in per cent.

    relative_distortion: squared error over energy, both over the compressed parameters. ratio: source over file.
    bits_per_weight: 8 file_bytes / parameters, over all weights, compressed or not. mosaic_bytes: the stored indices,
    with the counts that decode them. index_entropy: bits that an index needs at least, by how often each motif is used.
    bdm_ratio_range: the least and the greatest BDM ratio that weights of this number can have against this baseline.
    """

    source: str
    output: str
    parameters: int
    compressed_parameters: int
    blocks: int
    k: int
    k_requested: int
    s: int
    c: float | None
    method: str
    calibration: str
    protocol: str
    seed: int
    device: str
    zero_motif_share: float
    sampled_blocks: int
    source_bytes: int
    file_bytes: int
    ratio: float
    bits_per_weight: float
    mosaic_bytes: int
    index_bits_per_block: float
    index_entropy: float
    relative_distortion: float
    distortion_db: float | None
    bdm_before: float | None
    bdm_after: float | None
    bdm_baseline: float | None
    bdm_ratio_before: float | None
    bdm_ratio_after: float | None
    bdm_ratio_range: tuple[float, float] | None
    baseline: str | None
    accuracy_before: float | None
    accuracy_after: float | None
    data: str | None
    left_out: Mapping[str, str]
    stored_as_half: int
    stored_in_bytes: int
    backend: Mapping[str, Any]
    warnings: tuple[str, ...]
    stages: tuple[Stage, ...]
    seconds: float
    peak_memory_bytes: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record with every field."""
        return dataclasses.asdict(self)
