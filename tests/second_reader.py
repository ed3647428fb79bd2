"""docs/format.md once more, written from the document alone: slow, plain Python and numpy, no momos_compress."""

import json
import zlib
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "U8": "u1", "I8": "i1", "I64": "<i8", "I32": "<i4", "BOOL": "?"}
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "BOOL": 1}
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
        tensors[name] = tensor(raw[start + first : start + end], entry["dtype"], entry["shape"])
    return tensors, metadata


def tensor(data: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    """Data as an array; bfloat16 as the float32 numbers that they are."""
    if dtype == "BF16":
        return (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return np.frombuffer(data, dtype=DTYPES[dtype]).reshape(shape)


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All tensors under their own names, and the recipe, wherever they lie."""
    tensors, metadata = stored_tensors(path)
    recipe = json.loads(metadata["recipe"])
    if "bundle" in recipe.get("features", []):
        features = recipe["features"]
        recipe = {**json.loads(zlib.decompress(tensors.pop("momos.recipe").tobytes())), "features": features}
        data, offset = tensors.pop("momos.bundle").tobytes(), 0
        for dtype, names in recipe["bundle"].items():
            for name, shape in leaves(names):
                size = ITEM_BYTES[dtype] * int(np.prod(shape, dtype=np.int64))
                tensors[name] = tensor(data[offset : offset + size], dtype, shape)
                offset += size
        assert offset == len(data)
    return tensors, recipe


def leaves(names: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, list[int]]]:
    """Names joined by dots, and their shapes, in order."""
    out = []
    for part, inner in names.items():
        if isinstance(inner, dict):
            out += leaves(inner, (*above, part))
        else:
            out.append((".".join((*above, part)), inner))
    return out


def counts(data: bytes) -> list[int]:
    """The counts of the motifs."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    out: list[int] = []
    for fall, run in zip(numbers[::2], numbers[1::2], strict=True):
        out += [out[-1] - fall if out else fall] * run
    return out


def bounds(stored: list[int]) -> list[int]:
    """0 = C_0 < C_1 < ... < C_k = 2^24."""
    ends = [0, *accumulate(stored)]
    return [i + end * (2**24 - len(stored)) // ends[-1] for i, end in enumerate(ends)]


def ans(data: bytes, count: int, limits: list[int]) -> list[int]:
    """The indices of one stream."""
    return ans_under(data, [limits] * count)


def ans_under(data: bytes, models: list[list[int]]) -> list[int]:
    """The indices of one stream, each under bounds of its own."""
    count = len(models)
    words = [int(word) for word in np.frombuffer(data, dtype="<u4")]
    assert len(words) >= -(-count // 256)
    while words and not words[-1]:
        words.pop()
    state = 0
    for _ in range(2):
        if words:
            state = state << 32 | words.pop()
    out = []
    for limits in models:
        low = state % 2**24
        index = bisect_right(limits, low) - 1
        state = (state >> 24) * (limits[index + 1] - limits[index]) + low - limits[index]
        if state < 2**32 and words:
            state = state << 32 | words.pop()
        out.append(index)
    assert not words
    assert state == 0
    return out


def unpack(data: bytes, count: int, k: int) -> list[int]:
    """Bit-packed indices."""
    bits = max(1, (k - 1).bit_length())
    number = int.from_bytes(data, "little")
    return [number >> (i * bits) & ((1 << bits) - 1) for i in range(count)]


def scale(code: int) -> np.float32:
    """The value of a scale's code."""
    q, j = divmod(code - 192, 8)
    return np.float32(SCALE_MANTISSAS[j] * 2.0 ** (q - 23))


def class_models(counts: list[int], data: bytes) -> tuple[list[list[int]], list[list[int]], bytes]:
    """Bounds for blocks of each class, for the classes of rows and of columns, and the stream of those."""
    starts = [0, *accumulate(counts)]
    sixteenths = [min(15, 16 * start // starts[-1]) for start in starts[:-1]]
    group = [sorted(set(sixteenths)).index(sixteenth) for sixteenth in sixteenths]
    groups = group[-1] + 1
    tables = [data[kind * groups : (kind + 1) * groups] for kind in range(9)]
    rest = data[9 * groups :]
    assert all(data[: 9 * groups + 6])
    models = [bounds([count * table[g] for count, g in zip(counts, group, strict=True)]) for table in tables]
    return models, [bounds(list(rest[:3])), bounds(list(rest[3:6]))], rest[6:]


def classes_of(data: bytes, counts: list[int], grids: dict[str, tuple[int, int]]) -> dict[str, list[int]]:
    """The class of each block of each parameter that has classes."""
    _, (of_rows, of_columns), stream = class_models(counts, data)
    rows, columns = (sum(grid[axis] for grid in grids.values()) for axis in (0, 1))
    found = ans_under(stream, [of_rows] * rows + [of_columns] * columns)
    out, row, column = {}, 0, rows
    for name, (height, width) in grids.items():
        out[name] = [3 * a + b for a in found[row : row + height] for b in found[column : column + width]]
        row, column = row + height, column + width
    return out


def ans_by_class(data: bytes, classes: list[int], models: list[list[int]]) -> list[int]:
    """The indices of one stream whose blocks have classes."""
    order = sorted(range(len(classes)), key=classes.__getitem__)
    found = ans_under(data, [models[classes[block]] for block in order])
    return [index for _, index in sorted(zip(order, found, strict=True))]


def spread_of(data: bytes, k: int, grids: dict[str, tuple[int, int]]) -> tuple[list[list[int]], dict[str, list[int]]]:
    """Counts of each class of blocks, and the class of each block of each parameter."""
    kinds, zero, *sizes = data[:5]
    start, models = 5, []
    for size in sizes:
        assert any(data[start : start + size])
        models.append(bounds(list(data[start : start + size])))
        start += size
    rows = sum(height for height, _ in grids.values())
    columns = sum(width for height, width in grids.values() if height > 1)
    lengths = (kinds * k, rows, columns)
    found = iter(ans_under(data[start:], [model for model, n in zip(models, lengths, strict=True) for _ in range(n)]))
    stored = []
    for _ in range(kinds):
        code, counted = 72, []
        for _ in range(k):
            symbol = next(found)
            code = (code + (-(symbol + 1) // 2 if symbol % 2 else symbol // 2)) % 73
            counted.append((16, 19, 23, 27)[(code - 1) % 4] << (code - 1) // 4 if code else 0)
        stored.append(counted)
    of_rows = {name: [next(found) for _ in range(height)] for name, (height, _) in grids.items()}
    classes = {}
    for name, (height, width) in grids.items():
        of_columns = [next(found) if height > 1 else zero for _ in range(width)]
        classes[name] = [min(kinds - 1, max(0, a + b - zero)) for a in of_rows[name] for b in of_columns]
    return stored, classes


def ans_words(indices: list[int], limits: list[int]) -> bytes:
    """Undo ``ans``."""
    state, words = 0, []
    for index in reversed(indices):
        size = limits[index + 1] - limits[index]
        if state >> 40 >= size:
            words.append(state % 2**32)
            state >>= 32
        state = (state // size << 24) + limits[index] + state % size
    while state:
        words.append(state % 2**32)
        state >>= 32
    words += [0] * (-(-len(indices) // 256) - len(words))
    return np.array(words, dtype="<u4").tobytes()


def decode(path: Path) -> dict[str, np.ndarray]:
    """The compressed parameters, as float32 before the cast to their own dtype."""
    tensors, recipe = contents(path)
    s, k = recipe["s"], recipe["k"]
    book = tensors["momos.codebook"].astype(np.float32)
    if "codebook_step" in recipe:
        book = book * np.float32(recipe["codebook_step"])
    coded = recipe.get("coding") in ("ans", "classes")
    own_counts = counts(tensors["momos.counts"].tobytes()) if coded else []
    limits = bounds(own_counts) if coded else []
    classes: dict[str, list[int]] = {}
    models: list[list[int]] = []
    grids = {}
    for name, entry in recipe["tensors"].items():
        rows = entry.get("rows", 1)
        grids[name] = rows, -(-(int(np.prod(entry["shape"], dtype=np.int64)) // rows) // s)
    if recipe.get("coding") == "classes":
        cut = {name: grids[name] for name, entry in recipe["tensors"].items() if "rows" in entry}
        classes = classes_of(tensors["momos.classes"].tobytes(), own_counts, cut)
        models = class_models(own_counts, tensors["momos.classes"].tobytes())[0]
    if recipe.get("coding") == "spread":
        of_classes, classes = spread_of(tensors["momos.spread"].tobytes(), k, grids)
        models = [bounds(own) for own in of_classes]
    out, scales_read, columns_read = {}, 0, 0
    for name, entry in recipe["tensors"].items():
        shape = entry["shape"]
        values = int(np.prod(shape, dtype=np.int64))
        rows = entry.get("rows", 1)
        row_blocks = -(-(values // rows) // s)
        data = tensors[name].tobytes()
        if name in classes:
            indices = ans_by_class(data[: len(data) // 4 * 4], classes[name], models)
        elif coded:
            indices = ans(data[: len(data) // 4 * 4], rows * row_blocks, limits)
        else:
            indices = unpack(data, rows * row_blocks, k)
        matrix = np.empty((rows, row_blocks * s), dtype=np.float32)
        for i, index in enumerate(indices):
            row, block = divmod(i, row_blocks)
            matrix[row, block * s : (block + 1) * s] = book[index]
        if entry.get("scaled"):
            for row in range(rows):
                matrix[row] *= scale(int(tensors["momos.scales"][scales_read]))
                scales_read += 1
        matrix = matrix[:, : values // rows]
        if entry.get("columns"):
            for column in range(values // rows):
                matrix[:, column] *= scale(int(tensors["momos.columns"][columns_read]))
                columns_read += 1
        out[name] = (matrix.T if entry.get("transposed") else matrix).reshape(shape)
    return out


def radix(data: bytes, blocks: int, k: int) -> list[int]:
    """The indices of a stream of base-k digits."""
    size, digits = min(
        ((bytes_, max(n for n in range(57) if k**n <= 256**bytes_)) for bytes_ in range(1, 8)),
        key=lambda word: (word[0] / word[1], word[0]),
    )
    out: list[int] = []
    for start in range(0, len(data), size):
        number = int.from_bytes(data[start : start + size], "little")
        for _ in range(digits):
            number, digit = divmod(number, k)
            out.append(digit)
    return out[:blocks]
