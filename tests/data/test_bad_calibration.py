"""Mistakes with calibration on the command line: exit code 2, one line on standard error, nothing changed."""

import re
from pathlib import Path

import mistakes
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from momos_compress.sources.architecture import quiet_transformers

mistake, work, Mistake = mistakes.mistake, mistakes.work, mistakes.Mistake


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--calibrate=nowhere", "nowhere"),
        ("--calibrate=digits --method=faiss", "--calibrate digits is for --method hessian, and faiss"),
        ("--calibrate=digits --method=sklearn", "sklearn looks at weights alone"),
        ("--calibrate=synthetic --protocol=paper", "--calibrate synthetic is for --method hessian, and random"),
        ("--method=hessian --protocol=paper", "drop --method hessian"),
        ("--method=hessian --calibrate=none", "--method hessian needs calibration inputs"),
        ("--samples=0", "--samples must be at least 1, not 0"),
        ("--samples=-5", "at least 1, not -5"),
        ("--samples=1.5", "1.5"),
        ("--calibrate=digits --samples=5000", "450 images.*too few for 5,000.*ask for fewer"),
        ("--rate-weight=-1", "--rate-weight must lie in 0..100, not -1"),
        ("--rate-weight=nan", "--rate-weight must lie in 0..100, not nan"),
        ("--rate-weight=inf", "--rate-weight must lie in 0..100, not inf"),
        ("--rate-weight=101", "--rate-weight must lie in 0..100, not 101"),
        ("--rate-weight=much", "much.*float"),
        ("--calibrate=w.safetensors", "w.safetensors"),
        ("--calibrate=", "--calibrate is empty; give data, synthetic or none"),
    ],
)
def test_options(mistake: Mistake, options: str, words: str) -> None:
    assert re.search(words, mistake("digits", *options.split(), "--k=4", "--no-bdm"))


def test_without_an_architecture_there_is_nothing_to_run(mistake: Mistake) -> None:
    for options in (["--calibrate=digits"], ["--calibrate=synthetic"]):
        assert re.search("names no architecture.*--arch NAME.*--calibrate none", mistake("w.safetensors", *options))
    assert re.search(
        "names no architecture to make them for.*use --calibrate DATA", mistake("w.safetensors", "--method=hessian")
    )


def test_texts_for_a_model_whose_tokenizer_is_missing(mistake: Mistake) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with quiet_transformers():  # its bar would be part of what the command says
        BertModel(BertConfig(vocab_size=20, **sizes)).save_pretrained("bert")
    Path("texts.txt").write_text("a text\n")
    message = mistake("bert", "--calibrate=texts.txt", "--k=4", "--no-bdm")
    assert re.search("BertModel reads tokens and its tokenizer is missing", message)


def test_a_network_that_fails_on_its_inputs(mistake: Mistake) -> None:
    network = timm.create_model("test_vit")
    state = network.state_dict()
    state["blocks.0.norm1.weight"][:] = float("inf")
    save_file(state, "network.safetensors")
    Path("images").mkdir()
    for number in range(2):
        Image.new("RGB", (32, 32), (number, 90, 30)).save(f"images/{number}.png")
    message = mistake("network.safetensors", "--arch=test_vit", "--calibrate=images", "--k=4", "--no-bdm")
    assert re.search(
        r"blocks\.0\.attn\.qkv\.weight: .* not finite on the calibration inputs.*--calibrate none", message
    )
