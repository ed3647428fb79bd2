"""The wheel and the layout."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_puts_only_our_names_into_site_packages(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"momos_compress", "momos_cli", "momos_zoo"}


def test_the_wheel_holds_the_demo_the_types_and_the_command(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "momos_zoo/digits.safetensors" in names
    assert "momos_compress/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entry,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "momos-compress = momos_cli.app:main" in wheel.read(entry).decode()


def test_faiss_is_chosen_by_platform(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    lines = [line for line in wheel.read(metadata).decode().splitlines() if "faiss" in line]
    assert any(
        "faiss-gpu" in line and "sys_platform == 'linux' and platform_machine == 'x86_64'" in line for line in lines
    )
    assert any(
        "faiss-cpu" in line and "sys_platform != 'linux' or platform_machine != 'x86_64'" in line for line in lines
    )


def test_the_library_imports_neither_the_command_line_nor_the_zoo() -> None:
    paths = list((ROOT / "momos_compress").rglob("*.py"))
    assert len(paths) > 100
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] in ("momos_cli", "momos_zoo") for name in names), path.name


def test_every_public_name_is_there_and_callable_where_it_should_be() -> None:
    import momos_compress

    for name in momos_compress.__all__:
        assert callable(getattr(momos_compress, name)), name
