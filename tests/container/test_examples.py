"""The examples in docstrings, run as they stand there."""

import doctest
from importlib import import_module

import pytest

MODULES = ["container.reader", "coding.packed", "coding.radix", "coding.registry"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    found = doctest.testmod(import_module(f"momos_compress.{name}"))
    assert found.attempted
    assert not found.failed
