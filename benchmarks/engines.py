"""How fast a study goes: engines and workers on the same models in one run, turn about; ratios to one local worker.

    python benchmarks/engines.py [--models 8] [--rounds 2] [--no-ray]

Small random networks (timm's resnet18s and the like), so that what an engine adds is seen. The Ray cluster is started
before the clock, on this machine, with as many CPUs as there are cores; its home is a temporary directory.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from _common import machine, spread

import momos_zoo  # noqa: F401
from momos_compress.measures.settings import MeasureSettings
from momos_compress.study.events import Event
from momos_compress.study.local_engine import run_local
from momos_compress.study.model import Job
from momos_compress.study.ray_engine import run_ray
from momos_compress.study.run import run_study
from momos_compress.study.settings import StudySettings

MODELS = (
    "resnet18.a1_in1k", "mobilenetv3_large_100.ra_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "efficientnet_b0.ra_in1k", "resnet10t.c3_in1k", "regnetx_002.pycls_in1k", "rexnet_100.nav_in1k",
    "resnet14t.c3_in1k",
)  # fmt: skip
JOB = Job(StudySettings(seeds=1, pretrained=False, measures=MeasureSettings(rates="none")), imports=("momos_zoo",))


def local(workers: int, start: str) -> object:
    def engine(models: Sequence[str], job: Job) -> Iterator[Event]:
        if start == "spawn":
            real = multiprocessing.get_all_start_methods
            multiprocessing.get_all_start_methods = lambda: ["spawn"]  # what a system without fork has
            try:
                yield from run_local(models, job, workers=workers)
            finally:
                multiprocessing.get_all_start_methods = real
        else:
            yield from run_local(models, job, workers=workers)

    return engine


def cluster(models: Sequence[str], job: Job) -> Iterator[Event]:
    return run_ray(models, job)


def study(models: list[str], engine: object) -> float:
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        rows = run_study(models, JOB, Path(directory), engine)  # type: ignore[arg-type]
        assert all(row.status == "ok" for row in rows), [row.error for row in rows]
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ray", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    models = [MODELS[index % len(MODELS)] for index in range(options.models)]
    cores = os.cpu_count() or 1
    engines = {
        "local, 1 worker": local(1, "forkserver"),
        f"local, {cores} workers": local(cores, "forkserver"),
        f"local, {cores} workers, a fresh interpreter each": local(cores, "spawn"),
    }
    home = tempfile.TemporaryDirectory()
    if options.ray:
        os.environ |= {"HOME": home.name, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        import ray

        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=cores)
        engines[f"Ray, {cores} CPUs"] = cluster
    study(models[:1], engines["local, 1 worker"])  # the server of processes has started
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(options.rounds):
        for name, engine in engines.items():
            times[name].append(study(models, engine))
    print(f"{machine()}; {len(models)} models\n\n| engine | seconds | speed over one worker |\n|---|---|---|")
    base = times["local, 1 worker"]
    for name, values in times.items():
        print(f"| {name} | {spread(values)} | {spread([b / v for b, v in zip(base, values, strict=True)])} |")


if __name__ == "__main__":
    main()
