import os
from pathlib import Path
from typing import Literal

import pytest
import torch
from conftest import memory_checkpoint

from momos_compress import MomosError, Settings, compress, open_checkpoint
from momos_compress.common import atomic as atomic_module
from momos_compress.common.atomic import atomic_writer
from momos_compress.common.stages import Stages
from momos_compress.planning.choices import check_compression, choose
from momos_compress.planning.estimate import estimate
from momos_compress.planning.plan import plan

MAY_BE_NONE = {"c", "k", "bits", "codebook_dtype", "samples", "time_limit", "steps"}
"""k: c is given; the dtype: it is measured; samples: as many as there are by default; time_limit
and steps: the effort decides."""


def test_progress_adds_up_to_each_total(tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    compress(
        open_checkpoint("digits"),
        Settings(c=0.02, calibrate="none"),
        tmp_path / "x.momos.safetensors",
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    for stage in ("sample", "assign", "complexity before", "read back"):
        assert sum(done for done, _ in seen[stage]) == seen[stage][0][1], stage


def test_stages_are_timed_and_their_memory_is_their_own() -> None:
    stages = Stages()
    with stages.stage("small"):
        pass
    with stages.stage("large"):
        block = torch.ones(64 * 2**20)  # 256 MiB
        del block
    with stages.stage("after"):
        pass
    small, large, after = stages.done
    assert large.peak_memory_bytes - small.peak_memory_bytes > 200 * 2**20
    if Path("/proc/self/clear_refs").exists():
        assert large.peak_memory_bytes - after.peak_memory_bytes > 200 * 2**20
    assert stages.peak_memory_bytes == large.peak_memory_bytes
    assert stages.seconds >= large.seconds > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(c=0.1, k=3), "either `c` or `k`"),
        (Settings(method="random2"), "choose from faiss, hessian, random, sklearn"),
        (Settings(method="faiss", protocol="paper"), "drop `method='faiss'`"),
        (Settings(protocol="papers"), "choose from default, paper"),  # type: ignore[arg-type]
        (Settings(codebook_dtype="int4"), "choose from float16, bfloat16, float32, int8"),  # type: ignore[arg-type]
        (Settings(device="tpu"), "choose from auto, cpu, cuda"),  # type: ignore[arg-type]
        (Settings(coding="zip"), "choose from packed, ans"),  # type: ignore[arg-type]
        (Settings(passthrough="zip"), "choose from auto, keep"),  # type: ignore[arg-type]
        (Settings(seed=-1), "`seed` must be at least 0"),
    ],
)
def test_a_wrong_setting_is_told(settings: Settings, message: str) -> None:
    with pytest.raises(MomosError, match=message):
        check_compression(settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without() -> None:
    with pytest.raises(MomosError, match="no CUDA device; use `device='cpu'`"):
        check_compression(Settings(device="cuda"))
    assert choose(open_checkpoint("digits"), Settings()).device == "cpu"


def test_the_paper_protocol_implies_its_choices() -> None:
    choices = choose(open_checkpoint("digits"), Settings(protocol="paper"))
    assert (choices.method, choices.calibrate, choices.coding) == ("random", "none", "packed")
    assert (choices.codebook_dtype, choices.c, choices.zero_motif) == ("float32", 0.01, True)


@pytest.mark.parametrize("protocol", ["default", "paper"])
def test_choices_asked_for_again_stay_the_same(protocol: Literal["default", "paper"]) -> None:
    checkpoint = open_checkpoint("digits")
    choices = choose(checkpoint, Settings(protocol=protocol))
    assert all(value is not None for name, value in vars(choices).items() if name not in MAY_BE_NONE)
    assert sum(value is not None for value in (choices.c, choices.k, choices.bits)) == 1
    assert choose(checkpoint, choices.as_settings()) == choices


def test_more_motifs_than_blocks_are_cut_with_a_warning(tmp_path: Path) -> None:
    weight = torch.randn(10, 10)
    weight /= weight.square().mean(dim=1, keepdim=True).sqrt()  # rows of scale 1
    checkpoint = memory_checkpoint({"w": weight})
    work = plan(checkpoint, Settings(k=1000, calibrate="none"))
    assert work.k == work.blocks == 30  # three for each row
    assert "1,000 is more than the 30 blocks" in work.selection.warnings[0]
    report = compress(
        checkpoint, Settings(k=1000, codebook_dtype="float32", zero_motif=False), tmp_path / "x.safetensors"
    )
    assert report.relative_distortion == 0


def test_an_estimate_needs_no_fit(tmp_path: Path) -> None:
    checkpoint = open_checkpoint("resnet18", pretrained=False)
    work = plan(checkpoint, Settings(c=0.01))
    expected = estimate(checkpoint, work)
    assert work.k == int(0.01 * work.blocks)
    assert expected.bits_per_weight == pytest.approx(8 * expected.file_bytes / work.parameters)
    assert 0 < expected.seconds < 600
    assert expected.ratio == pytest.approx(checkpoint.source_bytes / expected.file_bytes)


@pytest.mark.parametrize("fault", [RuntimeError("boom"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_the_old_file_and_nothing_else(fault: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    expected = MomosError if isinstance(fault, OSError) else type(fault)

    def write() -> None:
        with atomic_writer(path) as file:
            file.write(b"new, half")
            raise fault

    with pytest.raises(expected):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_data_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        order.append("fsync")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(atomic_module.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with atomic_writer(tmp_path / "x") as file:
        file.write(b"data")
    assert order == ["fsync", "rename", "fsync"]  # the file, its name, the directory
    assert (tmp_path / "x").read_bytes() == b"data"
