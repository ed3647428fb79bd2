"""How a command ends: a mistake in one line, an interrupt with its own exit code, nothing half-written."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from cyclopts import CycloptsError, UnusedCliTokensError

from momos_cli.options import COMMANDS
from momos_compress.errors import MomosError

FAILED = 1
"""Exit code where some rows of a table failed; the others are there."""
MISTAKE = 2
"""Exit code for anything the user can mend."""
MISSED = 3
"""Exit code where a file was written that misses its target."""


def fail(message: str) -> NoReturn:
    """One line on standard error, and out; after an interrupt only its exit code."""
    if _received:
        sys.exit(128 + _received[0])
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(MISTAKE)


class _Interrupted(KeyboardInterrupt):
    """A class of our own: where KeyboardInterrupt itself passes through ``exec`` of a text, as it may in the middle of
    an import, Python ends by SIGINT whatever exit code is asked for afterwards.
    """


_received: list[int] = []


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """SIGINT and SIGTERM unwind the stack, so that temporary files go."""
    _received.append(number)
    raise _Interrupted


def guarded(command: Callable[[], object]) -> None:
    """Run the command line so that whatever happens ends as it should."""
    _received.clear()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        _run(command)
    except BaseException:
        # Raised in the middle of somebody's import or compiled code, an interrupt may come out as another error.
        if _received:
            sys.exit(128 + _received[0])
        raise


def _run(command: Callable[[], object]) -> None:
    try:
        command()
        sys.stdout.flush()
    except UnusedCliTokensError as error:
        fail(_misspelt(sys.argv[1]) or str(error))
    except CycloptsError as error:
        fail(str(error))
    except MomosError as error:
        fail(str(error))
    except MemoryError:
        fail("out of memory; raise --s, lower --c, or run on a larger machine")
    except BrokenPipeError:
        _drop_output()
        sys.exit(0)
    except OSError as error:
        _drop_output()
        fail(f"{error.filename or 'standard output'}: {error.strerror or error}")


def _drop_output() -> None:
    """What could not be written is not tried again while the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misspelt(word: str) -> str | None:
    """What to say of a first word that is neither a command nor a model."""
    from momos_compress.sources.open import is_unknown_name, unknown_source

    return unknown_source(word, commands=COMMANDS) if is_unknown_name(word) else None
