"""A second reader, written from docs/format.md alone: slow, plain Python and numpy, nothing of momos_compress."""

import json
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "U8": "u1", "I8": "i1", "I64": "<i8", "BOOL": "?"}
SCALE_MANTISSAS = (0x800000, 0x8B95C2, 0x9837F0, 0xA5FED7, 0xB504F3, 0xC5672A, 0xD744FD, 0xEAC0C7)


def stored_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors as safetensors holds them, and the metadata."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(raw[start + first : start + end], dtype="<u2").astype(np.uint32) << 16
            tensors[name] = bits.view(np.float32).reshape(entry["shape"])
        else:
            values = np.frombuffer(raw[start + first : start + end], dtype=DTYPES[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


def unpack(data: bytes, count: int, k: int) -> list[int]:
    """Bit-packed indices."""
    bits = max(1, (k - 1).bit_length())
    number = int.from_bytes(data, "little")
    return [number >> (i * bits) & ((1 << bits) - 1) for i in range(count)]


def scale(code: int) -> np.float32:
    """The value of a scale's code."""
    q, j = divmod(code - 192, 8)
    return np.float32(SCALE_MANTISSAS[j] * 2.0 ** (q - 23))


def decode(path: Path) -> dict[str, np.ndarray]:
    """The compressed parameters, as float32 before the cast to their own dtype."""
    tensors, metadata = stored_tensors(path)
    recipe: dict[str, Any] = json.loads(metadata["recipe"])
    s, k = recipe["s"], recipe["k"]
    book = tensors["momos.codebook"].astype(np.float32)
    if "codebook_step" in recipe:
        book = book * np.float32(recipe["codebook_step"])
    out, scales_read = {}, 0
    for name, entry in recipe["tensors"].items():
        shape = entry["shape"]
        values = int(np.prod(shape, dtype=np.int64))
        rows = entry.get("rows", 1)
        row_blocks = -(-(values // rows) // s)
        indices = unpack(tensors[name].tobytes(), rows * row_blocks, k)
        matrix = np.empty((rows, row_blocks * s), dtype=np.float32)
        for i, index in enumerate(indices):
            row, block = divmod(i, row_blocks)
            matrix[row, block * s : (block + 1) * s] = book[index]
        if entry.get("scaled"):
            for row in range(rows):
                matrix[row] *= scale(int(tensors["momos.scales"][scales_read]))
                scales_read += 1
        matrix = matrix[:, : values // rows]
        out[name] = (matrix.T if entry.get("transposed") else matrix).reshape(shape)
    return out
