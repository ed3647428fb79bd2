"""A peer of the rate-accuracy comparison: Neural Network Coding (ISO/IEC 15938-17), by its reference software nncodec.

    python benchmarks/peers_nnc.py model.safetensors --qp -24 -20 -16 -o peers

nncodec pins numpy below 2, so this runs under an interpreter of its own (`pip install nncodec==2.1.3 safetensors`).
For each file and each quantisation parameter: `peers/STEM/nnc_qpQP.safetensors`, the decoded tensors, and a row in
`peers/nnc.jsonl`. The bitstream holds every floating tensor, as the codec does by default: those of two dimensions
and more at `qp`, the others at the default -75, which is nearly lossless. Its other defaults stay as they are too:
dependent (trellis-coded) quantisation, optimised parameters of the arithmetic coder and row skipping on; no
sparsification, no per-layer change of qp, no batch-norm folding and no local scaling, of which the last needs training.
Integer tensors pass through, their raw bytes beside the bitstream's. Distortion is over the tensors of two dimensions
and more. Seconds are the processor's, so that a busy machine does not count against the codec.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import machine
from _peers import append, read, relative_error, write
from nncodec import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--qp", type=int, nargs="+", required=True, help="quantisation parameters; 4 doubles the step")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    for path in options.files:
        source = read(path)
        matrices = [name for name, tensor in source.floats.items() if tensor.ndim >= 2]
        # the codec takes float32 alone, and no scalars
        tensors = {name: np.atleast_1d(tensor.astype(np.float32)) for name, tensor in source.floats.items()}
        for qp in options.qp:
            with tempfile.TemporaryDirectory() as scratch:  # encode leaves a copy of the bitstream there
                start = time.process_time()
                bitstream = nn.encode(tensors, args={"qp": qp, "verbose": False, "results": scratch})
                encoded = time.process_time()
            bitstream_bytes = len(bitstream)
            decoded = nn.decode(bitstream)
            done = time.process_time()
            write(options.out, f"nnc_qp{qp}", source, decoded)
            append(
                options.out / "nnc.jsonl",
                {
                    "file": source.stem,
                    "qp": qp,
                    "bitstream_bytes": bitstream_bytes,
                    "integer_bytes": source.integer_bytes,
                    "distortion": relative_error(source, decoded, matrices),
                    "seconds": round(encoded - start, 3),
                    "decode_seconds": round(done - encoded, 3),
                },
            )


if __name__ == "__main__":
    main()
