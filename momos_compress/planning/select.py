"""Which tensors take part, and why the others do not."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import count_blocks
from momos_compress.settings import Protocol
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo

EXCLUDED = "excluded"
"""Reason given for a tensor that a pattern excludes."""


@dataclass(frozen=True)
class Selection:
    """Which tensors take part.

    Attributes:
        chosen: The tensors to cut into blocks, in order.
        left_out: Name -> reason, for all others.
        warnings: What the user should know of the choice.
    """

    chosen: tuple[TensorInfo, ...]
    left_out: dict[str, str]
    warnings: tuple[str, ...]

    def without(self, reasons: Mapping[str, str]) -> "Selection":
        """Leave more tensors out: name -> reason."""
        chosen = tuple(info for info in self.chosen if info.name not in reasons)
        return Selection(chosen, {**self.left_out, **reasons}, self.warnings)

    def with_warning(self, message: str) -> "Selection":
        """Add a warning."""
        return replace(self, warnings=(*self.warnings, message))

    def blocks(self, s: int) -> int:
        """Count the blocks of all chosen tensors, each flattened (N in docs/definitions.md)."""
        return sum(count_blocks(info.values, s) for info in self.chosen)


def _matcher(pattern: str) -> re.Pattern[str]:
    """Read a pattern: ``re:EXPR`` is searched anywhere in a name, anything else is a glob over the whole name."""
    try:
        return re.compile(pattern[3:] if pattern.startswith("re:") else f"^{fnmatch.translate(pattern)}")
    except re.error as error:
        raise MomosError(f"pattern {pattern!r} is not a regular expression: {error}") from error


def select(
    checkpoint: Checkpoint,
    *,
    s: int,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    protocol: Protocol = "default",
) -> Selection:
    """Choose the tensors to compress.

    By default those in floating point with two or more dimensions and at least one block of values; norms, biases and
    buffers pass through.

    Args:
        checkpoint: The tensors to choose from.
        s: Values in a block.
        include: Patterns that name exactly the tensors to take instead, in floating point and of any dimension.
        exclude: Patterns that name tensors to leave out of either.
        protocol: "paper" takes all trainable parameters in their order.

    Raises:
        MomosError: if no tensor is left, or a pattern is no regular expression.
    """
    if protocol == "paper":
        return _select_paper(checkpoint, include, exclude)
    including, excluding = {p: _matcher(p) for p in include}, {p: _matcher(p) for p in exclude}
    names = [info.name for info in checkpoint.tensors.infos]
    warnings = tuple(
        f"`{option}` {pattern!r} matches no tensor; names look like {names[0]!r}"
        for option, patterns in (("include", including), ("exclude", excluding))
        for pattern, matcher in patterns.items()
        if names and not any(matcher.search(name) for name in names)
    )
    chosen, left_out, small = [], {}, []
    for info in checkpoint.tensors.infos:
        reason = _reason(info, checkpoint.buffers, list(including.values()), list(excluding.values()))
        if reason is None and info.values < s:
            reason = f"fewer values than one block of {s}"
            small.append(f"{info.name} {list(info.shape)}")
        if reason is None:
            chosen.append(info)
        else:
            left_out[info.name] = reason
    if not chosen:
        raise MomosError(_nothing_left(checkpoint, s, left_out))
    if small:
        shown = ", ".join(small[:3]) + (f" and {len(small) - 3} more" if len(small) > 3 else "")
        warnings += (f"fewer values than one block of {s}: {shown}; they pass through (a smaller `s` takes them)",)
    return Selection(_ordered(chosen, checkpoint), left_out, warnings)


def _reason(
    info: TensorInfo, buffers: frozenset[str], including: list[re.Pattern[str]], excluding: list[re.Pattern[str]]
) -> str | None:
    if not info.dtype.is_floating_point:
        return "not in floating point"
    if info.values == 0:
        return "no values"
    if any(matcher.search(info.name) for matcher in excluding):
        return EXCLUDED
    if including:
        return None if any(matcher.search(info.name) for matcher in including) else "not included"
    if info.name in buffers:
        return "a buffer"
    return "fewer than two dimensions" if len(info.shape) < 2 else None


def _select_paper(checkpoint: Checkpoint, include: Sequence[str], exclude: Sequence[str]) -> Selection:
    if include or exclude:
        raise MomosError("`protocol='paper'` takes all trainable parameters; drop `include` and `exclude`")
    if checkpoint.parameters is None:
        raise MomosError(
            f"`protocol='paper'` needs to know which tensors of {checkpoint.source} are trainable parameters; name the "
            "architecture with `arch`"
        )
    infos = {info.name: info for info in checkpoint.tensors.infos}
    chosen = tuple(infos[name] for name in checkpoint.parameters)
    taken = set(checkpoint.parameters)
    if not chosen:
        raise MomosError(f"{checkpoint.source} has no trainable parameters")
    return Selection(chosen, {name: "not a trainable parameter" for name in infos if name not in taken}, ())


def _ordered(chosen: list[TensorInfo], checkpoint: Checkpoint) -> tuple[TensorInfo, ...]:
    """Sort by parameters() order where it is known: a mosaic must not depend on how a file sorts its tensors."""
    rank = {name: i for i, name in enumerate(checkpoint.parameters or ())}
    return tuple(sorted(chosen, key=lambda info: rank.get(info.name, len(rank))))


def _nothing_left(checkpoint: Checkpoint, s: int, left_out: dict[str, str]) -> str:
    if not left_out:
        return f"{checkpoint.source} holds no tensors"
    small = f"fewer values than one block of {s}"
    if small in left_out.values():
        largest = max(info.values for info in checkpoint.tensors.infos if left_out[info.name] == small)
        return (
            f"block size s = {s} is over the size of every eligible tensor of {checkpoint.source}; lower `s` to "
            f"{largest} or less"
        )
    reasons = sorted(set(left_out.values()))
    return f"{checkpoint.source} has no tensor to compress ({', '.join(reasons)}); name some with `include='PATTERN'`"
