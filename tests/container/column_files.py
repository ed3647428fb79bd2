"""Files whose parameters have scales of columns, written from drawn indices and codes.

PYTEST_DONT_REWRITE, as nothing is asserted here.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from conftest import memory_checkpoint

from momos_compress import MomosFile
from momos_compress.container.assembly import recipe_of, stored_tensors
from momos_compress.container.writer import write_container
from momos_compress.mosaic.blocks import FLAT, Layout
from momos_compress.mosaic.mosaic import MosaicBuilder

LAYOUTS = {
    "dense.weight": Layout(6),
    "flat.weight": FLAT,
    "rows.weight": Layout(3),
    "conv.weight": Layout(4),
    "transposed.weight": Layout(6, transposed=True),
}
COLUMNS = ("dense.weight", "conv.weight", "transposed.weight")
"""Parameters whose columns have scales; the others lie between them."""


def drawn_state(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights of every layout, none of which fills whole blocks of 4, and a vector beside them."""
    draw = torch.Generator().manual_seed(0)
    shapes = {
        "dense.weight": (6, 11),
        "flat.weight": (13,),
        "rows.weight": (3, 5),
        "conv.weight": (4, 3, 3, 3),
        "transposed.weight": (5, 3, 2),
    }
    state = {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in shapes.items()}
    return state | {"norm.bias": torch.rand(40, generator=draw) + 0.5}


def write_columns(
    path: Path,
    state: Mapping[str, torch.Tensor],
    *,
    s: int,
    k: int = 5,
    coding: str = "packed",
    bundled: bool | None = None,
    layouts: Mapping[str, Layout] = LAYOUTS,
    columns: Collection[str] = COLUMNS,
) -> MomosFile:
    """Write a file of the state's shapes and dtypes with motifs, indices and codes that are drawn anew."""
    draw = np.random.default_rng(0)
    checkpoint = memory_checkpoint(dict(state))
    builder = MosaicBuilder(k)
    for info in checkpoint.tensors.infos:
        if info.name not in layouts:
            continue
        layout = layouts[info.name]
        indices = draw.integers(k, size=layout.count(info.values, s))

        def codes(count: int) -> torch.Tensor:
            return torch.from_numpy(draw.integers(160, 224, size=count, dtype=np.uint8))

        rows = None if layout.rows is None else codes(layout.rows)
        of_columns = codes(layout.columns(info.values)) if info.name in columns else None
        builder.add(info, indices, 0.0, layout, rows, of_columns)
    motifs = torch.from_numpy(draw.standard_normal((k, s))).half()
    mosaic = builder.finish(motifs, keep_unused=True, energy=1.0, sampled_blocks=0)
    stored, kept = stored_tensors(checkpoint.tensors, mosaic, coding)
    write_container(path, stored, recipe_of(mosaic, kept, aliases={}, extra={}), bundled=bundled)
    return MomosFile(path)
