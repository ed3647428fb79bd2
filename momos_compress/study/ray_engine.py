"""The engine of a Ray cluster (extra: cluster): a task for each model, tried again where its node is lost."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from momos_compress.errors import MomosError, one_line
from momos_compress.study.events import Event
from momos_compress.study.model import Job, failed_row, study_model
from momos_compress.study.rows import Row

RETRIES = 3
"""Times that a model is tried again after its node or process was lost."""
CONNECT_SECONDS = 10
"""Seconds until an address without an answer is given up."""


def run_ray(
    models: Sequence[str], job: Job, *, address: str | None = None, cpus: float = 1, gpus: float = 0
) -> Iterator[Event]:
    """Measure models as tasks of a cluster, each in a process, as many at a time as its CPUs and GPUs allow.

    Every node needs this package, and reaches the models by itself.

    Args:
        models: Anything that ``open_checkpoint`` takes.
        job: What the models have in common.
        address: A running cluster, as "auto" or "ray://HOST:10001"; None starts one on this machine.
        cpus: CPUs of each task.
        gpus: GPUs of each task; a fraction lets several tasks share one.

    Yields:
        The start of each model, and its end with its row.

    Raises:
        MomosError: Ray is not installed, the cluster is out of reach, or a task asks for no CPU.
    """
    ray = _ray()
    if cpus <= 0 or gpus < 0:
        raise MomosError(f"a task needs more than {cpus:g} CPUs and {gpus:g} GPUs; CPUs are above 0, GPUs at least 0")
    ours = not ray.is_initialized()
    if ours:
        _check_reachable(address)
        on_signal = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise MomosError(
                f"the Ray cluster {address or 'on this machine'} does not start: {one_line(error)}"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_signal)  # Ray sets its own, which ends the program with another exit code
    try:
        yield from _run(ray, models, job, cpus, gpus)
    finally:
        if ours:
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Find out at once that nobody listens at HOST:PORT, for which Ray itself takes many minutes."""
    host, found, port = (address or "").removeprefix("ray://").rpartition(":")
    if not found:
        return  # "auto" and the like, which Ray looks up
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise MomosError(
            f"no Ray cluster answers at {address!r} ({one_line(error, 80)}); start one with 'ray start --head', or "
            "leave `address` out to run on this machine"
        ) from error


def _run(ray: Any, models: Sequence[str], job: Job, cpus: float, gpus: float) -> Iterator[Event]:
    # max_calls=1 ends the worker's process with the task: a process a model, as on one machine.
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1, max_retries=RETRIES)(study_model)
    waiting, running = list(models), dict[Any, str]()
    try:
        while waiting or running:
            # As nodes come and go, so does the number of tasks that can run; the rest wait here, not in the cluster.
            while waiting and len(running) < max(1, _slots(ray.cluster_resources(), cpus, gpus)):
                model = waiting.pop(0)
                running[task.remote(model, job)] = model
                yield Event("started", model)
            for reference in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                model = running.pop(reference)
                yield Event("finished", model, _row_of(ray, reference, model, job))
    finally:
        for reference in running:
            with contextlib.suppress(Exception):  # the cluster may be gone already
                ray.cancel(reference, force=True)


def _slots(resources: dict[str, float], cpus: float, gpus: float) -> int:
    slots = resources.get("CPU", 0) / cpus
    return int(min(slots, resources.get("GPU", 0) / gpus) if gpus else slots)


def _row_of(ray: Any, reference: Any, model: str, job: Job) -> Row:
    try:
        row = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # an error of ours, which no retry mends
        last = str(error).strip().splitlines()[-1]
        return failed_row(model, job.settings, f"its task ended with an error: {one_line(last)}")
    except ray.exceptions.RayError as error:
        return failed_row(model, job.settings, f"the cluster gave it up after {RETRIES} retries: {one_line(error)}")
    assert isinstance(row, Row)
    return row


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MomosError("`engine='ray'` needs Ray; pip install 'momos-compress[cluster]'") from error
    return ray
