"""Where a tokenizer comes from."""

from pathlib import Path

import calibration_fixtures
import pytest
import torch
from conftest import minilm_directory
from torch import nn

from momos_compress import MomosError
from momos_compress.data.draws import open_calibration
from momos_compress.sources import hub

work, language_model = calibration_fixtures.work, calibration_fixtures.language_model


def test_where_the_tokenizer_is_looked_for(language_model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.txt").write_text("a b\n")
    directory = minilm_directory()
    tokens = next(open_calibration("x.txt", language_model, seed=0, source=str(directory)).batches(1))["input_ids"]

    def same(source: str | None) -> bool:
        found = next(open_calibration("x.txt", language_model, seed=0, source=source).batches(1))
        return torch.equal(found["input_ids"], tokens)  # type: ignore[call-overload, arg-type]

    assert same(f"local-dir:{directory}")
    assert same(str(directory / "model.safetensors"))
    asked: list[str] = []

    def fetch(repo: str, filename: str) -> Path | None:
        asked.append(repo)
        return directory / filename if (directory / filename).is_file() else None

    monkeypatch.setattr(hub, "fetch", fetch)
    assert same("org/name@v1")
    assert same("hf-hub:org/other")
    assert set(asked) == {"org/name@v1", "org/other"}
    Path("weights").mkdir()
    monkeypatch.setattr(language_model, "name_or_path", str(directory), raising=False)
    assert same("weights")
    assert same(None)


def test_a_tokenizer_that_is_missing_or_damaged(language_model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.txt").write_text("a b\n")

    def message(source: str | None) -> str:
        with pytest.raises(MomosError) as error:
            open_calibration("x.txt", language_model, seed=0, source=source)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert message(None).startswith("BertModel reads tokens and its tokenizer is missing: nothing is known of")
    Path("empty").mkdir()
    assert "none beside empty; copy tokenizer.json" in message("empty")
    # transformers alone would make up a tokenizer of five words from this.
    Path("empty/config.json").write_bytes((minilm_directory() / "config.json").read_bytes())
    assert "none beside empty; copy tokenizer.json" in message("empty")
    Path("empty/tokenizer.json").write_text("{}")
    assert "empty: its tokenizer cannot be loaded" in message("empty")
    Path("empty/tokenizer.json").unlink()
    Path("empty/tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}}')
    Path("empty/evil.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    assert "empty" in message("empty") or "knows nothing of" in message("empty")
    assert not Path("ran").exists()
    monkeypatch.setattr(hub, "fetch", lambda repo, filename: None)
    assert "none beside org/name" in message("org/name")
