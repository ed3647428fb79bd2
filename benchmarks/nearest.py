"""Nearest motif for every block of a ResNet-50 (random weights): kd-tree against FAISS's flat index, turn about.

    python benchmarks/nearest.py [--share 8] [--rounds 3]

For each s and k: seconds for all blocks, extrapolated from one block in --share, and the ratio FAISS / kd-tree; `any`
asks for one neighbour, `lowest` for the exact lowest index among ties. The choice in
momos_compress.fitting.nearest follows this table; a star marks the search that it takes.
"""

import argparse
import statistics
from functools import partial

import numpy as np
from _common import machine, spread, timed

from momos_compress.fitting.nearest import NearestMotif, choose_search
from momos_compress.mosaic.blocks import iter_blocks
from momos_compress.planning.select import select
from momos_compress.sources.open import open_checkpoint

SIZES = [(1, 4096), (2, 63_892), (4, 670), (4, 16_384), (4, 63_892), (8, 31_946), (16, 15_973)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    checkpoint = open_checkpoint("resnet50", pretrained=False)
    print(machine())
    print("s, k, ties: kd-tree s; FAISS s; ratio FAISS / kd-tree")
    for s, k in SIZES:
        chosen = select(checkpoint, s=s).chosen
        blocks = np.concatenate([p.copy() for info in chosen for p in iter_blocks(checkpoint.read(info.name), s)])
        rng = np.random.default_rng(0)
        motifs = blocks[rng.choice(len(blocks), size=k, replace=False)]
        part = blocks[rng.permutation(len(blocks))[: len(blocks) // options.share]]
        for ties in ("any", "lowest"):
            times: dict[str, list[float]] = {"kdtree": [], "faiss": []}
            searches = {kind: NearestMotif(motifs, ties=ties, search=kind) for kind in times}
            for _ in range(options.rounds):
                for kind, search in searches.items():
                    times[kind].append(options.share * timed(partial(search, part)))
            taken = choose_search(s, k, ties=ties, device="cpu")
            tree, flat = (
                f"{statistics.median(times[kind]):.2f}{'*' if taken == kind else ''}" for kind in ("kdtree", "faiss")
            )
            ratio = spread([b / a for a, b in zip(times["kdtree"], times["faiss"], strict=True)])
            print(f"{s}, {k}, {ties}: {tree}; {flat}; {ratio}", flush=True)


if __name__ == "__main__":
    main()
