"""Containers written by hand, and what reading them may do: FormatError in one line, or exactly the right tensors."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from momos_compress import FormatError, load_file

Tensors = dict[str, tuple[str, list[int], bytes]]
"""Stored tensors: name -> safetensors dtype, shape, data."""

ITEM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}


# A second implementation of docs/format.md, so that a hostile file has sound checksums where it lies elsewhere.


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def parse(raw: bytes) -> tuple[dict[str, Any], Tensors]:
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    recipe = json.loads(header.pop("__metadata__")["recipe"])
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], raw[start + first : start + end])
    return recipe, tensors


def safetensors(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + data


def header_of(recipe: object, tensors: Tensors, /, **metadata: str | None) -> tuple[dict[str, Any], bytes]:
    """A sound container's header and data; a recipe that is a string is taken as it stands, None drops a key."""
    text = recipe if isinstance(recipe, str) else json.dumps(recipe, separators=(",", ":"), ensure_ascii=False)
    header, data, checksums = {}, b"", ""
    for name in sorted(tensors, key=lambda name: (-ITEM_BYTES.get(tensors[name][0], 1), name)):
        dtype, shape, part = tensors[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
        checksums += digest(f"{name}\n{dtype}\n{','.join(map(str, shape))}\n".encode() + part)
    checksums += digest(text.encode())
    fields = {"format": "momos", "format_version": "1", "recipe": text, "checksums": checksums, **metadata}
    return {"__metadata__": {key: value for key, value in fields.items() if value is not None}, **header}, data


def container(recipe: object, tensors: Tensors, /, **metadata: str | None) -> bytes:
    return safetensors(*header_of(recipe, tensors, **metadata))


def changed(recipe: Any, place: tuple[Any, ...], raw: str) -> str:
    """The recipe's JSON with the value at ``place`` written as ``raw``, which need not be something Python can hold."""
    copy = json.loads(json.dumps(recipe))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "\0here"
    return json.dumps(copy).replace('"\\u0000here"', raw)


def pack(indices: list[int], bits: int) -> bytes:
    number = sum(index << (i * bits) for i, index in enumerate(indices))
    return number.to_bytes(-(-len(indices) * bits // 8), "little")


def read(path: Path, content: bytes) -> dict[str, torch.Tensor] | str:
    """The tensors of a file with this content, or what the FormatError says behind the file's name, in one line."""
    path.write_bytes(content)
    try:
        return load_file(path)
    except FormatError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert message.isprintable(), message[:200]
    assert len(message) < len(str(path)) + 400
    return message.removeprefix(f"{path}: ")


def refused(path: Path, content: bytes) -> str:
    """The message with which the file is refused; fails where it is read."""
    found = read(path, content)
    assert isinstance(found, str)
    return found


def same(found: dict[str, torch.Tensor] | str, expected: Mapping[str, torch.Tensor]) -> bool:
    """Whether the file was read, with exactly the expected tensors; fails where others came back."""
    if isinstance(found, str):
        return False
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])
    return True


JSON_VALUES = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "minus one": "-1",
    "three": "3",
    "a float": "3.0",
    "infinity": "1e999",
    "NaN": "NaN",
    "2^64": str(2**64),
    "400 digits": "9" * 400,
    "4,000 digits": "9" * 4000,
    "5,000 digits": "9" * 5000,
    "no text": '""',
    "text": '"x"',
    "two lines": '"a\\nb"',
    "half a character": '"\\ud800"',
    "a terminal's command": '"\\u001b[2J"',
    "much text": json.dumps("y" * 5000),
    "markup": '"[/x]"',
    "[]": "[]",
    "[[]]": "[[]]",
    "[0,0]": "[0,0]",
    "[{}]": "[{}]",
    "[null]": "[null]",
    "{}": "{}",
    "an object": '{"a":1}',
    "an object of lists": '{"float32":[{}]}',
    "many": "[" + "1," * 5000 + "1]",
    "deep": "[" * 900 + "]" * 900,
    "very deep": "[" * 10**5 + "]" * 10**5,
}


def places(value: object, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from places(inner, (*above, key))


BOUNDED = """
import json, resource, sys, time
from pathlib import Path
from momos_compress import FormatError, MomosError, load_file, load_model
import momos_zoo
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
limit = int(status["VmSize"].split()[0]) * 1024 + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
out = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        (load_model if path.name.startswith("model") else load_file)(path)
        result = "loaded"
    except BaseException as error:
        result = type(error).__name__
    out[path.name] = (result, time.process_time() - start)
print(json.dumps(out))
"""
