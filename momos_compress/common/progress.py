"""What a long run tells whoever watches it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told the stage, what has been done since the last call, and how much there is in all, in the stage's own unit."""


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""
