"""The public face: one table of names, each documented with an example that runs."""

import doctest
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

import momos_compress as mc
import momos_zoo  # noqa: F401  registers the demo

NAMES = list(mc.__all__)


@pytest.fixture(scope="module")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the compressed file that examples read."""
    directory = tmp_path_factory.mktemp("examples")
    settings = mc.Settings(c=0.05, calibrate="none", bdm=False)
    mc.compress(mc.open_checkpoint("digits"), settings, directory / "digits.momos.safetensors")
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_has_an_example_that_runs(
    name: str, example_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(example_files)
    public = getattr(mc, name)
    module = importlib.import_module(public.__module__)
    examples = doctest.DocTestFinder(recurse=False).find(public, name, module=module, globs=vars(module).copy())
    found = [example for test in examples for example in test.examples]
    assert found, f"{name} has no example"
    assert not any("SKIP" in example.source for example in found)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    said: list[str] = []
    for test in examples:
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(getattr(mc, name), types.FunctionType)])
def test_each_public_function_documents_arguments_and_errors(name: str) -> None:
    function = getattr(mc, name)
    text = function.__doc__ or ""
    parameters = [p for p in function.__annotations__ if p != "return"]
    documented = text.partition("Args:")[2]
    assert all(f"{parameter}:" in documented for parameter in parameters), name
    if function.__annotations__["return"] not in (None, "None"):
        assert "Returns:" in text, name


def test_the_names_are_listed_and_nothing_else_is() -> None:
    assert {*NAMES, "__version__"} <= set(dir(mc))
    assert sorted(NAMES) == NAMES or set(NAMES) == set(mc.__all__)
    assert not hasattr(mc, "nothing")
    assert mc.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="nothing"):
        mc.nothing  # noqa: B018


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, momos_compress; dir(momos_compress); momos_compress.Settings; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
