"""A peer of the rate-accuracy comparison: GPTQ (arXiv 2210.17323), by its authors' code, on a decoder of transformers.

    git clone https://github.com/IST-DASLab/gptq
    python benchmarks/peers_gptq.py DIRECTORY --code gptq --text ../shared/data/wikitext2_valid.txt --bits 4 3 -o peers

For each width: `peers/model/gptqBITS.safetensors`, the decoded tensors, and a row in `peers/gptq.jsonl`. Linear layers
of the decoder's layers are quantised one layer after another, each on what the layers before it, as quantised, give it;
groups of 128 values of a row have a scale and a zero point, asymmetric, as the authors' own script for Llama has it.
The table of tokens, which GPTQ leaves alone, and an output layer that is not tied to it become integers of 8 bits with
one scale a row; vectors are stored as fp16. The payload is packed integers, fp16 scales, zero points of so many bits
and fp16 values, with no entropy coding.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import machine
from _peers import append, read, relative_error, write
from peers_rounding import round_rows
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

GROUP = 128
TABLE_BITS = 8


class _ReachedError(Exception):
    """The first decoder layer was reached."""


def first_inputs(model: nn.Module, layer: nn.Module, windows: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
    """What reaches the first decoder layer, (windows, length, width), and what else it is called with."""
    caught: list[tuple[torch.Tensor, dict[str, Any]]] = []

    def stop(_: nn.Module, inputs: tuple[torch.Tensor, ...], others: dict[str, Any]) -> None:
        caught.append((inputs[0], others))
        raise _ReachedError

    handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
    for window in windows:
        try:
            model(input_ids=window[None], use_cache=False)
        except _ReachedError:
            continue
    handle.remove()
    return torch.cat([inputs for inputs, _ in caught]), caught[0][1]


def through(layer: nn.Module, inputs: torch.Tensor, others: dict[str, Any]) -> torch.Tensor:
    """What a decoder layer makes of each window."""
    out = [layer(window[None], **others) for window in inputs]
    return torch.cat([each[0] if isinstance(each, tuple) else each for each in out])


def quantise(
    gptq: Any, quant: Any, layers: nn.ModuleList, inputs: torch.Tensor, others: dict[str, Any], bits: int
) -> None:
    """GPTQ on all linear layers, in place."""
    for layer in layers:
        solvers, handles = {}, []
        for name, linear in layer.named_modules():
            if isinstance(linear, nn.Linear):
                solvers[name] = gptq.GPTQ(linear)
                solvers[name].quantizer = quant.Quantizer()
                solvers[name].quantizer.configure(bits, perchannel=True, sym=False, mse=False)
                handles.append(linear.register_forward_hook(_adder(solvers[name])))
        through(layer, inputs, others)
        for handle in handles:
            handle.remove()
        for solver in solvers.values():
            solver.fasterquant(groupsize=GROUP)
            solver.free()
        inputs = through(layer, inputs, others)


def _adder(solver: Any) -> Callable[..., None]:
    def add(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        solver.add_batch(inputs[0].data, output.data)

    return add


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--code", type=Path, required=True, help="checkout of the authors' repository")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3])
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    sys.path.insert(0, str(options.code))
    import gptq
    import quant

    torch.cuda.synchronize = lambda device=None: None  # type: ignore[assignment]  # their code waits for a GPU
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    source = read(options.directory / "model.safetensors")
    tokens = AutoTokenizer.from_pretrained(options.directory)(options.text.read_text(encoding="utf-8"))["input_ids"]
    windows = torch.tensor(tokens[: options.windows * options.length]).reshape(-1, options.length)
    for bits in options.bits:
        model = AutoModelForCausalLM.from_pretrained(options.directory, dtype=torch.float32).eval()
        start = time.process_time()
        with torch.no_grad():
            layers = model.model.layers
            quantise(gptq, quant, layers, *first_inputs(model, layers[0], windows), bits)
        seconds, payload_bytes, decoded = time.process_time() - start, 0, {}
        state = model.state_dict()
        quantised = {
            f"model.layers.{name}.weight" for name, part in layers.named_modules() if isinstance(part, nn.Linear)
        }
        for name, tensor in source.floats.items():
            if name in quantised:
                decoded[name] = state[name].numpy()
                groups = len(tensor) * -(-tensor.shape[1] // GROUP)
                payload_bytes += -(-(tensor.size * bits + groups * (16 + bits)) // 8)
            elif tensor.ndim >= 2:
                decoded[name], size = round_rows(tensor, TABLE_BITS)
                payload_bytes += size
            else:
                decoded[name] = tensor.astype(np.float16)
                payload_bytes += 2 * tensor.size
        write(options.out, f"gptq{bits}", source, decoded)
        row = {
            "file": source.stem,
            "bits": bits,
            "payload_bytes": payload_bytes,
            "integer_bytes": source.integer_bytes,
            "distortion": relative_error(source, decoded, sorted(quantised & source.floats.keys())),
            "seconds": round(seconds, 3),
        }
        append(options.out / "gptq.jsonl", row)


if __name__ == "__main__":
    main()
