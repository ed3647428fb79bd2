"""How a command ends: a mistake in one line, an interrupt with its own exit code, nothing half-written.

The library's messages name settings in Python's form; here they become the options that the user typed.
"""

import contextlib
import functools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError, UnusedCliTokensError

from momos_compress.errors import MomosError

FAILED = 1
"""Exit code where some rows of a table failed; the others are there."""
MISTAKE = 2
"""Exit code for anything the user can mend."""
MISSED = 3
"""Exit code where a file was written that misses its target."""


SETTING = re.compile(r"`([a-z]\w*)(?:=('[^'`]*'|[^`'\s]+))?`")
"""A setting in a message of the library: `rate_weight`, `calibrate='none'`, `pretrained=False`, `checkpoint=FILE`."""


APPS: list[App] = []
"""The command line, which ``app`` puts here: it imports the commands, and these import what is below."""


@functools.cache
def commands() -> tuple[str, ...]:
    """Names of the commands."""
    return tuple(name for app in APPS for name in app if not name.startswith("-"))


@functools.cache
def options() -> frozenset[str]:
    """Every option of every command as it is typed, such as --c and --no-bdm."""
    arguments = (each for app in APPS for name in commands() for each in app[name].assemble_argument_collection())
    return frozenset(name for each in arguments for name in (*each.names, *each.negatives) if name.startswith("-"))


def option(name: str) -> str:
    """How a setting is typed: --rate-weight for rate_weight."""
    return f"--{name.replace('_', '-')}"


def with_options(text: str, known: Callable[[str], bool] | None = None) -> str:
    """Replace the settings in a text of the library by the options of the command line.

    Args:
        text: Names settings in backticks, `name` or `name=value`; other backticks stay as they are.
        known: Whether there is such an option; by default, whether a command has it.
    """
    is_known = known or (lambda flag: flag in options())

    def replaced(match: "re.Match[str]") -> str:
        name, value = match[1], match[2]
        if value == "False":
            flag = f"--no-{option(name)[2:]}"
            return flag if is_known(flag) else match[0]
        if not is_known(option(name)):
            return match[0]
        if value in (None, "True"):
            return option(name)
        return f"{option(name)} {shlex.quote(value.strip(chr(39)))}"

    return SETTING.sub(replaced, text)


def warn(warnings: Iterable[str]) -> None:
    """Each warning as a line on standard error."""
    for warning in warnings:
        print(f"warning: {with_options(warning)}", file=sys.stderr)


def fail(message: str) -> NoReturn:
    """One line on standard error, and out; after an interrupt only its exit code."""
    if _received:
        sys.exit(128 + _received[0])
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(MISTAKE)


class _Interrupted(KeyboardInterrupt):
    """An interrupt under another name.

    Where KeyboardInterrupt itself passes through ``exec`` of a text, as it may in the middle of an import, Python ends
    by SIGINT whatever exit code is asked for afterwards.
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
        fail(with_options(str(error)))
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

    return unknown_source(word, commands=commands()) if is_unknown_name(word) else None
