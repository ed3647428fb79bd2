"""What indices take by each coding, and how long they take to read; of compressed files that are there.

    python benchmarks/codings.py FILE.momos.safetensors ... [--repeats 5]

ans: by how often each motif is used in the whole file. classes: that by row and column. Times are of all indices of a
file, ans and classes in turn.
"""

import argparse
from pathlib import Path

import numpy as np
from _common import machine, spread, timed

from momos_compress import MomosFile
from momos_compress.coding.class_search import find_classes
from momos_compress.coding.counts import read_counts, store_counts
from momos_compress.coding.index_classes import ClassCoder, IndexClasses
from momos_compress.coding.index_model import IndexModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    print("| file | blocks | k | ans, bytes | classes, bytes | less | classes found, s | read, over ans |")
    print("|---|---|---|---|---|---|---|---|")
    for path in options.files:
        name = str(path).removesuffix(".momos.safetensors")
        print(f"| {name} | {' | '.join(row(path, options.repeats))} |", flush=True)


def row(path: Path, repeats: int) -> list[str]:
    file = MomosFile(path)
    grids, k = file.recipe.grids, file.recipe.k
    indices = {name: file.indices(name).numpy() for name in file.recipe.tensors}
    usage = np.bincount(np.concatenate(list(indices.values())), minlength=k)
    counts = read_counts(store_counts(usage), k)
    model = IndexModel(counts)
    plain = {name: model.encode([found], len(found)) for name, found in indices.items()}
    size = sum(map(len, plain.values())) + len(store_counts(usage))
    cells = [f"{file.recipe.blocks:,}", f"{k:,}", f"{size:,}"]
    found: list[IndexClasses | None] = []
    seconds = timed(lambda: found.append(find_classes(grids, counts, usage, indices.__getitem__)))
    classes = found[0]
    if classes is None:
        return [*cells, "none", "", f"{seconds:.2f}", ""]
    coder = ClassCoder(counts, classes)
    classed = {name: coder.encode(name, indices[name]) if name in grids else data for name, data in plain.items()}
    smaller = size + sum(len(classed[name]) - len(plain[name]) for name in plain) + len(classes.to_bytes())

    def read(name: str, data: bytes) -> np.ndarray:
        return coder.decode(name, data) if name in grids else model.decode(data, len(indices[name]))

    ratios = []
    for _ in range(repeats):
        before = timed(lambda: [model.decode(data, len(indices[name])) for name, data in plain.items()])
        ratios.append(timed(lambda: [read(name, data) for name, data in classed.items()]) / before)
    return [*cells, f"{smaller:,}", f"{100 * (1 - smaller / size):.1f} %", f"{seconds:.2f}", spread(ratios)]


if __name__ == "__main__":
    main()
