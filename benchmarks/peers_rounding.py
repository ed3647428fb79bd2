"""A peer of the rate-accuracy comparison: round to nearest, the plainest quantisation there is.

    python benchmarks/peers_rounding.py model.safetensors --bits 8 4 3 2 [--group 128] -o peers

For each file and each width: `peers/STEM/intBITS.safetensors`, the decoded tensors, and a row in
`peers/rounding.jsonl`. Every floating tensor of two dimensions and more becomes integers of so many bits with one fp16
scale a row (output channel), symmetric: the row's largest magnitude is the largest integer, 2^(bits - 1) - 1. With
`--group N` every N values of a row have a scale, and the files are called `intBITS_gN`. The other floating tensors are
stored as fp16, integer tensors as they are. The payload is packed integers, scales and fp16 values, with no header and
no entropy coding. Distortion is over the tensors of two dimensions and more; seconds are the processor's.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _common import machine
from _peers import append, read, relative_error, write


def round_rows(weights: np.ndarray, bits: int, group: int | None = None) -> tuple[np.ndarray, int]:
    """Weights (o, ...) -> what a decoder gives back, and the bytes it needs: ceil(n * bits / 8), and 2 a scale."""
    rows = weights.reshape(len(weights), -1).astype(np.float32)
    columns = rows.shape[1]
    if group is not None:
        rows = np.pad(rows, ((0, 0), (0, -columns % group))).reshape(-1, group)
    largest = 2 ** (bits - 1) - 1
    scale = (np.abs(rows).max(axis=1, keepdims=True) / largest).astype(np.float16).astype(np.float32)
    integers = np.rint(np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0)).clip(-largest, largest)
    decoded = (integers * scale).reshape(len(weights), -1)[:, :columns]
    return decoded, (weights.size * bits + 7) // 8 + 2 * len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4, 3, 2])
    parser.add_argument("--group", type=int, help="values that share a scale, instead of a row")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    for path in options.files:
        source = read(path)
        matrices = [name for name, tensor in source.floats.items() if tensor.ndim >= 2]
        for bits in options.bits:
            start = time.process_time()
            payload_bytes = 0
            decoded = {}
            for name, tensor in source.floats.items():
                if name in matrices:
                    decoded[name], size = round_rows(tensor, bits, options.group)
                else:
                    decoded[name], size = tensor.astype(np.float16), 2 * tensor.size
                payload_bytes += size
            seconds = time.process_time() - start
            write(options.out, f"int{bits}" + (f"_g{options.group}" if options.group else ""), source, decoded)
            append(
                options.out / "rounding.jsonl",
                {
                    "file": source.stem,
                    "bits": bits,
                    "group": options.group,
                    "payload_bytes": payload_bytes,
                    "integer_bytes": source.integer_bytes,
                    "distortion": relative_error(source, decoded, matrices),
                    "seconds": round(seconds, 3),
                },
            )


if __name__ == "__main__":
    main()
