"""What a compressed file holds."""

from rich.table import Table

from momos_cli.render import console, mosaic_size, pairs
from momos_compress.common.units import binary_size
from momos_compress.container.inspection import mosaic_bytes
from momos_compress.container.reader import MomosFile
from momos_compress.errors import one_line
from momos_compress.networks.fidelity import FIDELITY, Fidelity, recorded_fidelity
from momos_compress.sources.architecture import Architecture


def show_file(
    file: MomosFile,
    architecture: Architecture | None,
    rows: list[dict[str, object]],
    *,
    against: tuple[str, Fidelity] | None = None,
) -> None:
    """What a compressed file holds, tensor by tensor.

    Args:
        file: The file.
        architecture: What it names as its network.
        rows: A record for each tensor.
        against: A model, and how the file's outputs differ from its.
    """
    recipe = file.recipe
    extra = recipe.extra
    size = file.path.stat().st_size
    network = "none named" if architecture is None else f"{architecture.name} ({architecture.library})"
    summary = [
        ("file", binary_size(size)),
        ("motifs", f"k = {recipe.k:,} of s = {recipe.s}, {extra.get('method')}, seed {extra.get('seed')}"),
        ("blocks", f"{recipe.blocks:,}"),
        ("mosaic", f"{mosaic_size(mosaic_bytes(file), recipe.blocks)}, {recipe.coding}"),
        ("distortion", f"{100 * recipe.distortion / recipe.energy if recipe.energy else 0:.3f} % of the energy"),
        ("architecture", network),
    ]
    recorded = recorded_fidelity(extra.get(FIDELITY))
    summary.append(("outputs", "not measured when it was written" if recorded is None else str(recorded)))
    if against is not None:
        summary.append((f"outputs against {one_line(against[0], 60)}", str(against[1])))
    console.print(pairs(str(file.path), summary))
    table = Table(box=None, pad_edge=False)
    words = ("tensor", "shape", "dtype", "stored as")
    figures = ["bytes", "% of file", "blocks", "distortion", "% of it"]
    if any("output_error" in row for row in rows):
        figures += ["output error", "% of them"]
    for column in (*words, *figures):
        table.add_column(column, justify="left" if column in words else "right")
    for row in rows:
        shape = row["shape"]
        assert isinstance(shape, list)
        blocks, distortion = row["blocks"], row["distortion"]
        table.add_row(
            one_line(row["name"]),
            "x".join(map(str, shape)) or "scalar",
            str(row["dtype"]),
            str(row["stored"]),
            f"{row['bytes']:,}",
            _percent(row["byte_share"]),
            "" if blocks is None else f"{blocks:,}",
            "" if distortion is None else f"{distortion:.4g}",
            _percent(row["distortion_share"]),
            *([_short(row["output_error"]), _percent(row["output_share"])] if "output_error" in row else []),
        )
    console.print()
    console.print(table)


def _percent(share: object) -> str:
    return f"{100 * share:.1f}" if isinstance(share, float) else ""


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else ""
