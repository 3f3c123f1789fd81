"""Distances between all pairs of two sets of clouds, as the generation metrics need them, and their extrapolation.

python benchmarks/bm_pairwise_clouds.py                # a slice, extrapolated to 662 x 662
python benchmarks/bm_pairwise_clouds.py --whole        # the whole Chamfer matrix
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import cpu_name
from mae3d.datasets.objects import SimulatedObjects
from mae3d.evaluation.pairwise_clouds import pairwise_distances

PUBLISHED = 662
"""Chairs of the validation split."""
POINTS = 2048


def shapes(count: int) -> torch.Tensor:
    data = SimulatedObjects(count, categories=["chair"], npoints=POINTS, stored_points=POINTS)
    return torch.stack([data[index]["points"] for index in range(count)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="all 662 x 662 pairs, Chamfer distance")
    parser.add_argument("--kinds", nargs="+", default=["cd", "emd"], choices=["cd", "emd"])
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"{cpu_name()}, {torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}\n\n| distance | pairs | wall s | CPU s | {PUBLISHED} x {PUBLISHED} |")
    print("|---|---|---|---|---|")
    for kind in args.kinds:
        rows = PUBLISHED if args.whole and kind == "cd" else (16 if kind == "cd" else 4)
        clouds = shapes(2 * rows).to(device)
        a, b = clouds[:rows], clouds[rows:]
        pairwise_distances(a[:2], b[:2], kind)
        wall, processor = time.perf_counter(), time.process_time()
        total = float(pairwise_distances(a, b, kind).sum())  # waits for the device
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        scale = PUBLISHED**2 / rows**2
        used = processor / torch.get_num_threads() if device == "cpu" else wall
        print(f"| {kind} | {rows}^2 | {wall:.2f} | {processor:.2f} | {used * scale / 60:.1f} min |", flush=True)
        assert total > 0


if __name__ == "__main__":
    main()
