"""The engine of one machine: a process for each model, a given number at a time.

Where the system can fork, a server that has imported torch and timm once makes the processes, so that a model costs no
import of its own.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from momos_compress.errors import MomosError, one_line
from momos_compress.study.events import Event
from momos_compress.study.model import Job, failed_row, study_model
from momos_compress.study.rows import Row

PRELOADED = ("momos_compress.study.model", "timm", "scipy.spatial")
"""Modules that the server imports once."""


@dataclass
class _Running:
    model: str
    process: BaseProcess
    rows: Connection
    log: IO[bytes]


def run_local(models: Sequence[str], job: Job, *, workers: int = 1) -> Iterator[Event]:
    """Measure models in their order, each in a process of its own.

    Closing the iterator ends the processes; so does the end of this one, however it comes.

    Args:
        models: Anything that ``open_checkpoint`` takes.
        job: What the models have in common.
        workers: Processes at a time; the cores are shared out among them.

    Yields:
        The start of each model, and its end with its row.

    Raises:
        MomosError: There are no workers.
    """
    if workers < 1:
        raise MomosError(f"`workers` must be at least 1, not {workers}")
    context = _context(job)
    threads = max(1, (os.cpu_count() or 1) // workers)
    waiting, running = list(models), dict[Any, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = _start(context, waiting.pop(0), job, threads)
                running[task.rows] = task
                yield Event("started", task.model)
            for rows in wait(list(running)):
                task = running.pop(rows)
                yield Event("finished", task.model, _row_of(task, job))
    finally:
        for task in running.values():
            task.process.terminate()
        for task in running.values():
            task.process.join(5)
            task.process.kill()
            task.log.close()


def _context(job: Job) -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *job.imports])
    return context


def _start(context: BaseContext, model: str, job: Job, threads: int) -> _Running:
    receiver, sender = context.Pipe(duplex=False)
    log = tempfile.NamedTemporaryFile(prefix="momos-study-", suffix=".log")  # noqa: SIM115  closed with its process
    with _no_main_module():
        process = context.Process(target=_work, args=(sender, model, job, threads, log.name), daemon=True)  # type: ignore[attr-defined]
        process.start()
    sender.close()  # so that the pipe ends with the process
    return _Running(model, process, receiver, log)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the program that started the study: a child needs nothing of it, and must not run its file again."""
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if getattr(main, name, None) is not None}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


def _row_of(task: _Running, job: Job) -> Row:
    """The row that a process sent, or a failed one where it died before."""
    try:
        row = task.rows.recv()
    except (EOFError, OSError):
        row = None
    task.rows.close()
    task.process.join()
    last = _last_line(Path(task.log.name))
    task.log.close()
    return row if isinstance(row, Row) else failed_row(task.model, job.settings, _cause(task.process.exitcode, last))


def _cause(code: int | None, last: str) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, most likely for lack of memory; fewer workers leave more to each"
    if code is not None and code < 0:
        return f"its process died of signal {-code}; {last}"
    return f"its process ended with exit code {code}: {last}"


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return one_line(lines[-1])
    return "it said nothing"


def _work(rows: Connection, model: str, job: Job, threads: int, log: str) -> None:
    """Measure one model in a process of its own, and send its row."""
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    except OSError:
        os._exit(1)  # the study was ended while this process began
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    import torch
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the study ends its processes itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    disable_progress_bars()
    torch.set_num_threads(threads)
    rows.send(study_model(model, job))
    rows.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
