"""Options and words of the command line that cannot be."""

import re
from pathlib import Path

import mistakes
import pytest
import torch

Mistake, compressed, images, mistake, work = (
    mistakes.Mistake,
    mistakes.compressed,
    mistakes.images,
    mistakes.mistake,
    mistakes.work,
)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--c=0", "capacity"),
        ("--c=-1", "capacity"),
        ("--c=2", "capacity"),
        ("--c=nan", "capacity"),
        ("--c=inf", "capacity"),
        ("--c=x", "x.*float"),
        ("--k=0", "at least 1"),
        ("--k=-1", "at least 1"),
        (f"--k={2**24 + 1}", "16,777,217.*2\\^24"),
        ("--k=1.5", "1.5"),
        ("--s=0", "1..64"),
        ("--s=65", "1..64"),
        ("--s=-1", "1..64"),
        ("--s=four", "four"),
        ("--c=0.1 --k=5", "either --c or --k"),
        ("--seed=-1", "seed"),
        (f"--seed={2**64}", "seed"),
        ("--method=magic", "magic"),
        ("--protocol=rock", "rock"),
        ("--protocol=paper --method=sklearn", "--method sklearn"),
        ("--protocol=paper", "trainable.*--arch"),
        ("--codebook-dtype=float8", "float8"),
        ("--passthrough=drop", "drop"),
        ("--device=tpu", "tpu"),
        ("--include=re:(", "regular expression"),
        ("--include=nothing*", "--include"),
        ("--exclude=*", "excluded"),
        ("--target-ratio=0.5", "above 1"),
        ("--target-ratio=nan", "above 1"),
        ("--target-ratio=inf", "above 1"),
        ("--target-ratio=x", "x.*float"),
        ("--target-size=big", "'big' is no size"),
        ("--target-size=-5MB", "'-5MB' is no size"),
        ("--target-size=0", "at least 1 byte"),
        ("--max-drop=-1", "0..100"),
        ("--max-drop=nan", "0..100"),
        ("--max-drop=100", "0..100"),
        ("--max-drop=1", "needs data.*--calibrate"),
        ("--max-drop=1 --calibrate=none", "needs data"),
        ("--max-drop=1 --calibrate=synthetic", "needs data"),
        ("--max-drop=1 --data=digits --calibrate=digits", "same images.*drop --data"),
        ("--max-drop=1 --data=. --calibrate=x", "same images"),
        ("--max-drop=1 --data=digits", "--arch"),
        ("--target-ratio=4 --c=0.1", "either --c or a target"),
        ("--target-size=4KB --k=16", "either --k or a target"),
        ("--target-size=4KB --max-drop=1", "--target-size and --max-drop"),
        ("--target-ratio=4 --dry-run", "--dry-run"),
        ("--target-ratio=4 --s=65", "1..64"),
        ("--colour", "--colour"),
        ("--capacity=0.1", "--capacity"),
        ("more.safetensors", "more.safetensors"),
        ("--arch=resnet5O", "close names: .*resnet50"),
        ("--arch=digits_resnet8", "--arch"),
        ("--no-pretrained", "weights file"),
        ("--data=nowhere", "nowhere|--arch"),
        ("--checkpoint=nowhere.pth", "nowhere.pth|architecture"),
        ("--output", "--output"),
    ],
)
def test_options(mistake: Mistake, options: str, words: str) -> None:
    assert re.search(words, mistake("w.safetensors", *options.split()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(mistake: Mistake) -> None:
    assert "--device cpu" in mistake("w.safetensors", "--device", "cuda")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "MODEL"),
        ("inspct", "inspect"),
        ("inspct w.safetensors", "inspect"),
        ("exprot w.safetensors -o x", "export"),
        ("evalute w.safetensors --data x", "evaluate"),
        ("resnet5O", "resnet50"),
        ("resnet50.a1_in2k", "a1_in1k"),
        ("digit", "digits"),
        ("nowhere.safetensors", "no file or directory 'nowhere.safetensors'"),
        ("./nowhere", "no file or directory './nowhere'"),
        ("hf-hub:", "ORG/NAME"),
        ("local-dir:nowhere", "no directory 'nowhere'"),
        ("digits_resnet8", "--no-pretrained"),
        ("resnet18 --checkpoint nowhere.pth", "no file 'nowhere.pth'"),
        ("inspect", "FILE"),
        ("inspect nowhere", "no such file"),
        ("export nowhere", "no such file"),
        ("evaluate nowhere --data digits", "nowhere"),
        ("x" * 300, "x"),
        ("x" * 5000, "x"),
        ("w.safetensors -o " + "x" * 300, "x"),
        ("inspect " + "x" * 5000, "x"),
    ],
)
def test_words(mistake: Mistake, words: str, expected: str) -> None:
    assert expected in mistake(*words.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--against digits", "--against MODEL and --data DATA go together"),
        ("--data digits", "--against MODEL and --data DATA go together"),
        ("--samples 3", "go with --against"),
        ("--against digits --data nowhere", "nowhere"),
        ("--against digits --data digits --samples 0", "--samples must be at least 1"),
        ("--against digits --data digits --samples 451", "450 images, too few for 451"),
        ("--against w.safetensors --data digits", "--arch NAME"),
        ("--against digit --data digits", "'digit' is no timm model"),
    ],
)
def test_inspect_against_the_original(mistake: Mistake, compressed: Path, words: str, message: str) -> None:
    assert message in mistake("inspect", compressed, *words.split())


def test_files_that_are_not_compressed(mistake: Mistake) -> None:
    for command in ("inspect", "export"):
        assert "w.safetensors: not a MoMos file" in mistake(command, "w.safetensors")
        assert mistake(command, ".").startswith(".: not a")
    assert "w.safetensors" in mistake("evaluate", "w.safetensors", "--data", "digits")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("study gone.toml", "no list of models 'gone.toml'"),
        ("study nothing-like-it*", "matches no weights file"),
        ("study w.safetensors --seeds 0", "--seeds"),
        ("study w.safetensors --seed=-1", "--seed must be at least 0"),
        ("study w.safetensors --planes 17", "--planes"),
        ("study w.safetensors --percentile 30", "--percentile"),
        ("study w.safetensors --rates some", "some"),
        ("study w.safetensors --workers 0", "--workers"),
        ("study w.safetensors --cpus 2", "--engine ray"),
        ("study w.safetensors --engine ray --workers 2", "--engine local"),
        ("study w.safetensors --max-cache lots", "'lots' is no size"),
        ("study w.safetensors --measure length", "length"),
        ("study w.safetensors -o w.safetensors", "w.safetensors cannot be used"),
        ("sweep w.safetensors --c 0.1,x", "--c '0.1,x' is no list of numbers"),
        ("sweep w.safetensors --c=", "--c '' is no list"),
        ("sweep w.safetensors --c 0.1,2", "capacity"),
        ("sweep w.safetensors --s 4,2.5", "--s '4,2.5' is no list of whole numbers"),
        ("sweep w.safetensors --s 4,65", "1..64"),
        ("sweep w.safetensors --rate-weight=1,-1", "--rate-weight must lie in"),
        ("sweep w.safetensors --rate-weight=1,2", "--calibrate DATA"),
        ("sweep w.safetensors --data . --calibrate .", "same images"),
        ("sweep gone.safetensors", "no file or directory"),
        ("sweep w.safetensors -o w.safetensors", "w.safetensors cannot be used"),
        ("report .", "no rows of a study"),
        ("report gone", "no rows of a study"),
        ("trace gone", "no file or directory 'gone'"),
        ("trace .", "has no step; its name must end in a number"),
        ("trace w.safetensors", "step"),
        ("topology gone.safetensors", "no file or directory"),
        ("topology w.safetensors --s 0", "1..64"),
        ("topology w.safetensors --csv gone/t.csv", "gone"),
    ],
)
def test_mistakes_of_the_other_commands(mistake: Mistake, words: str, message: str) -> None:
    assert re.search(message, mistake(*words.split()))
