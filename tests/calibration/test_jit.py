"""Loops are compiled and kept where they can be, and compiled all the same where nothing can be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from momos_compress.calibration.kernels.jit import jit

@jit
def twice(x: float) -> float:
    return 2 * x
"""


def run(directory: Path, code: str, **environment: str) -> str:
    paths = os.pathsep.join([str(directory), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("writable", [True, False])
def test_a_place_for_compiled_loops_is_not_needed(writable: bool, tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(MODULE)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, under which nobody can make a directory")
    if not writable:
        (tmp_path / "__pycache__").write_text("likewise")
    places = {name: str(blocked / name) for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    assert run(tmp_path, "import loop; print(loop.twice(4.0))", **places) == "8.0"
    assert bool(list(tmp_path.glob("__pycache__/loop.twice*.nbi"))) is writable


def test_numba_is_loaded_only_when_a_loop_runs(tmp_path: Path) -> None:
    code = "import sys, momos_compress, momos_compress.calibration.run; print('numba' in sys.modules)"
    assert run(tmp_path, code) == "False"
