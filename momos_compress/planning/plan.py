"""What a run will do, decided before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

from momos_compress.coding.registry import get_coding
from momos_compress.common.atomic import check_writable
from momos_compress.errors import MomosError
from momos_compress.fitting.faiss_library import faiss_problem
from momos_compress.fitting.methods import METHODS
from momos_compress.fitting.motifs import sample_size
from momos_compress.mosaic.blocks import check_motif_count, count_blocks, fills_rows, motifs_for_capacity, row_layout
from momos_compress.planning.choices import Choices, choose
from momos_compress.planning.select import Selection, select
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint

ALONE = "motifs are fitted to the weights alone, which loses more"
"""What warnings say where nothing can be run."""
LEVELS = 8191
"""Most levels of a fit that spends bits: -4095 to 4095."""


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        settings: Every choice, made.
        selection: Which tensors take part, and why the others do not.
        parameters: Weights of the whole checkpoint, without buffers.
        blocks: Blocks of the tensors that take part.
        k: Motifs to find.
        sampled_blocks: Blocks that motifs are found on.
    """

    settings: Choices
    selection: Selection
    parameters: int
    blocks: int
    k: int
    sampled_blocks: int


def plan(checkpoint: Checkpoint, settings: Settings) -> Plan:
    """Make the choices left open, choose tensors, and count blocks and motifs.

    Raises:
        MomosError: if a setting is wrong, or no tensor can be compressed.
    """
    choices = choose(checkpoint, settings)
    selection = select(
        checkpoint, s=choices.s, include=choices.include, exclude=choices.exclude, protocol=choices.protocol
    )
    if settings.method is None and settings.protocol == "default":
        if settings.calibrate is None and checkpoint.architecture is None:
            unnamed = f"{checkpoint.source} names no architecture to run: {ALONE}; name one with `arch='NAME'`"
            selection = selection.with_warning(unnamed)
        if problem := faiss_problem():
            selection = selection.with_warning(problem)
    blocks = _blocks(selection, choices)
    if choices.bits is not None:
        k = LEVELS
    elif choices.k is not None:
        if choices.k > blocks:
            selection = selection.with_warning(
                f"k = {choices.k:,} is more than the {blocks:,} blocks; {blocks:,} motifs hold each of them"
            )
        k = min(choices.k, blocks)
    else:
        assert choices.c is not None  # one of the two is always there
        # The paper counts the blocks of flattened tensors; cut by rows there are a few more.
        k = motifs_for_capacity(choices.c, selection.blocks(choices.s))
    check_motif_count(k)
    least, most = get_coding(choices.coding).motifs
    if settings.coding is not None and not least <= k <= most:
        selection = selection.with_warning(
            f"`coding={settings.coding!r}` takes {least:,} to {most:,} motifs, and there are {k:,}: indices are packed"
        )
    wanted = max(0, k - choices.zero_motif)
    method = METHODS[choices.method]
    sampled = wanted if method.draws else sample_size(blocks, k, start=method.reads_network)
    if choices.bits is not None:
        sampled = 0  # levels are whole numbers: nothing is found on blocks
    parameters = sum(info.values for info in checkpoint.tensors.infos if info.name not in checkpoint.buffers)
    return Plan(choices, selection, parameters, blocks, k, sampled)


def _blocks(selection: Selection, choices: Choices) -> int:
    """Blocks as the tensors will be cut."""
    if choices.protocol == "paper":
        return selection.blocks(choices.s)
    return sum(
        row_layout(info.shape).count(info.values, choices.s)
        if METHODS[choices.method].reads_network or fills_rows(info, choices.s)
        else count_blocks(info.values, choices.s)
        for info in selection.chosen
    )


def output_path(checkpoint: Checkpoint, output: str | Path | None) -> Path:
    """Where the file goes: ``output``, or ``NAME.momos.safetensors`` in the working directory.

    Raises:
        MomosError: if nothing can be written there, or the file is one that the checkpoint is read from.
    """
    path = Path(output).expanduser() if output else Path(f"{checkpoint.name}.momos.safetensors")
    check_writable(path)
    for file in (*checkpoint.files, *(i for f in checkpoint.files for i in f.parent.glob("*.index.json"))):
        if path.exists() and path.samefile(file):
            raise MomosError(f"the output {str(path)!r} is the input; choose another name with `output`")
    return path
