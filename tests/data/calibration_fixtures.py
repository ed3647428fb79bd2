"""Fixtures of tests on data."""

from pathlib import Path

import pytest
import timm
from torch import nn


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A timm network that resizes and crops."""
    return timm.create_model("test_resnet").eval()


@pytest.fixture(scope="module")
def language_model() -> nn.Module:
    """A BERT with the vocabulary of MiniLM, and nothing known of where it came from."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)).eval()
