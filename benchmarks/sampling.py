"""How many blocks a codebook needs to be trained on, and what the seeding is worth: ResNet-50 (random weights), s = 4.

    python benchmarks/sampling.py [--c 0.01] [--seeds 3]

Distortion (per cent of the energy, on all blocks) and seconds for the fit, by blocks per motif; beside it the
paper's random draw and FAISS's k-means as it comes, from a random start.
"""

import argparse
import time

import faiss
import numpy as np
from _common import machine, spread

from momos_compress.fitting import motifs as motifs_module
from momos_compress.fitting.nearest import NearestMotif
from momos_compress.fitting.sampling import draw_blocks
from momos_compress.mosaic.blocks import motifs_for_capacity
from momos_compress.planning.select import select
from momos_compress.sources.open import open_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--c", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    checkpoint = open_checkpoint("resnet50", pretrained=False)
    selection = select(checkpoint, s=4)
    total = selection.blocks(4)
    k = motifs_for_capacity(options.c, total)
    blocks, energy = draw_blocks(checkpoint, selection.chosen, 4, total, seed=0)
    print(f"{machine()}; FAISS {faiss.__version__}; {total:,} blocks, k = {k:,}")

    def distortion(motifs: np.ndarray) -> float:
        motifs = motifs.astype(np.float16).astype(np.float32)
        search, error = NearestMotif(motifs), 0.0
        for start in range(0, total, 2**20):
            part = blocks[start : start + 2**20]
            error += float(np.square(part - motifs[search(part)], dtype=np.float64).sum())
        return 100 * error / energy

    def report(name: str, fit: object, per_motif: int) -> None:
        errors, times = [], []
        for seed in range(options.seeds):
            chosen = np.random.default_rng(seed).choice(total, size=min(total, per_motif * k), replace=False)
            sample = blocks[chosen]
            start = time.perf_counter()
            motifs = fit(sample, seed)  # type: ignore[operator]
            times.append(time.perf_counter() - start)
            errors.append(distortion(motifs))
        print(f"{name}: {spread(errors)} %; {spread(times)} s", flush=True)

    def plain(sample: np.ndarray, seed: int) -> np.ndarray:
        kmeans = faiss.Kmeans(4, k, niter=5, seed=seed + 1, min_points_per_centroid=1, max_points_per_centroid=1000)
        kmeans.train(sample)
        centroids: np.ndarray = kmeans.centroids
        return centroids

    report("random draw (the paper's)", lambda sample, seed: sample[:k], 1)
    report("plain FAISS k-means, 5 iterations, 32 blocks a motif", plain, 32)
    for per_motif in (8, 16, 32):
        report(
            f"ours, {per_motif} blocks a motif",
            lambda sample, seed: motifs_module.fit_motifs(sample, k, method="faiss", seed=seed),
            per_motif,
        )


if __name__ == "__main__":
    main()
