"""The program as a process: how it ends where code is refused, a disk fills up, or a signal comes."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mistakes
import pytest
import torch
from waiting import wait_for

Payload, compressed, contents, message_of, work = (
    mistakes.Payload,
    mistakes.compressed,
    mistakes.contents,
    mistakes.message_of,
    mistakes.work,
)


def start(*words: object, code: str | None = None, **options: object) -> "subprocess.Popen[str]":
    program = ["-c", code] if code else ["-m", "momos_cli"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_the_program_refuses_code_in_one_line(work: Path) -> None:
    Path("bad.pth").write_bytes(pickle.dumps({"state_dict": {"w": torch.ones(8, 8)}, "args": Payload()}))
    before = contents(work)
    process = start("bad.pth")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert out == ""
    assert "safetensors.torch.save_file" in message_of(err)
    assert contents(work) == before


LIMITED = """
import resource
from momos_cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes there")
def test_a_disk_that_fills_up_while_writing(work: Path) -> None:
    Path("out.safetensors").write_bytes(b"precious")
    before = contents(work)
    process = start("digits", "-o", "out.safetensors", "--no-bdm", "--calibrate=none", code=LIMITED)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert out == ""
    assert os.strerror(errno.EFBIG) in message_of(err)
    assert contents(work) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_report_that_cannot_be_written(compressed: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "momos_cli", "inspect", str(compressed)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
        )
    assert done.returncode == 2
    assert os.strerror(errno.ENOSPC) in message_of(done.stderr)


SLOW_TO_SYNC = """
import os, time
from momos_cli.app import main
os.fsync = lambda descriptor: time.sleep(600)
main()
"""


def interrupted(process: "subprocess.Popen[str]", number: signal.Signals, ready: Callable[[], bool]) -> str:
    """Send the signal once ``ready``; checks the exit code and returns standard error."""
    wait_for(lambda: ready() or process.poll() is not None)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number, err
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_writing_leaves_everything_as_it_was(
    work: Path, compressed: Path, number: signal.Signals
) -> None:
    Path("out.safetensors").write_bytes(b"precious")
    before = contents(work)
    process = start("export", compressed, "-o", "out.safetensors", code=SLOW_TO_SYNC)
    interrupted(process, number, lambda: any(path.suffix == ".tmp" for path in work.iterdir()))
    assert contents(work) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_code_that_was_made_from_text_gives_its_exit_code(number: signal.Signals) -> None:
    """As while a dataclass is defined in some library's import."""
    text = f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(20)"
    Path("program.py").write_text(f"from momos_cli.exits import guarded\nguarded(lambda: exec({text!r}))\n")
    done = subprocess.run([sys.executable, "-m", "program"], capture_output=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [3, 5, 8, 12])
def test_a_signal_at_any_time_leaves_everything_as_it_was(work: Path, number: signal.Signals, seconds: int) -> None:
    before = contents(work)
    process = start("resnet50", "--no-pretrained", "--c", "0.02")
    deadline = time.monotonic() + seconds
    interrupted(process, number, lambda: time.monotonic() > deadline)
    assert contents(work) == before
