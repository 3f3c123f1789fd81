"""Training step of FastDiT-3D with its masking, and of the same network and of DiT-3D with nothing hidden.

Published, on 8 A100 and in hours of training: 91 without masking, 11 with it, 8 with the windowed decoder at 32^3;
11.3, 12.7 and 15.4 times faster at 32^3, 64^3 and 128^3. A step here is loss, gradients and no optimizer; the masked
step's time is the first figure, the ratio is how many times longer the whole clouds take. Peak memory on a GPU, else
bytes kept for the backward pass. Sizes that do not fit are listed as such.

    python benchmarks/bm_fastdit3d_step.py [--resolutions 32 64 128] [--size s] [--batch 16]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.bm_voxel_mae_step import kept_megabytes
from benchmarks.harness import cpu_name
from mae3d.models.methods import DiT3D, FastDiT3D
from mae3d.models.methods.dit3d import SIZES

WAYS = ("FastDiT-3D", "FastDiT-3D, global decoder", "FastDiT-3D, nothing hidden", "DiT-3D")


def build(way: str, size: str, resolution: int, **options) -> DiT3D:
    torch.manual_seed(0)
    options = {**SIZES[size], "resolution": resolution, **options}
    if way == "DiT-3D":
        return DiT3D(**options)
    if way == "FastDiT-3D, global decoder":
        return FastDiT3D(**options, window_blocks=())
    if way == "FastDiT-3D, nothing hidden":
        return FastDiT3D(**options, masking=None)
    return FastDiT3D(**options)


def shell(batch: int, points: int = 2048) -> torch.Tensor:
    """Thin surfaces of unit variance, as occupied as shapes are."""
    directions = torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(0))
    return directions / directions.norm(dim=2, keepdim=True) * torch.tensor([1.6, 1.9, 1.2])


def measure(model: DiT3D, points: torch.Tensor, steps: int) -> tuple[float, float]:
    """Median milliseconds of a step, megabytes."""
    device = points.device.type
    model = model.to(points.device).train()
    generator = torch.Generator(device).manual_seed(0)

    def loss() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            losses = model(points, "loss", generator=generator)
        return sum(value for name, value in losses.items() if "loss" in name)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss().backward()

    for _ in range(3 if device == "cuda" else 1):
        step()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(steps):
        start = clock(device)
        step()
        times.append(clock(device) - start)
    memory = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else kept_megabytes(loss, model)
    return sorted(times)[len(times) // 2] * 1e3, memory


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[32])
    parser.add_argument("--size", choices=sorted(SIZES), default="s")
    parser.add_argument("--batch", type=int, default=None, help="clouds a step (default: 16 on a GPU, 1 on a CPU)")
    parser.add_argument("--steps", type=int, default=None, help="timed steps (default: 20 on a GPU, 3 on a CPU)")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"{cpu_name()}, {torch.get_num_threads()} threads"
    batch, steps = args.batch or (16 if device == "cuda" else 1), args.steps or (20 if device == "cuda" else 3)
    print(f"## Training step, {args.size.upper()}/4, batch {batch} of 2048 points\n")
    print(f"{where}, torch {torch.__version__}\n")
    print("| voxels | network | ms | MB | time against FastDiT-3D |\n|---|---|---|---|---|")
    for resolution in args.resolutions:
        reference = None
        for way in WAYS:
            try:
                milliseconds, memory = measure(build(way, args.size, resolution), shell(batch).to(device), steps)
            except torch.OutOfMemoryError:
                print(f"| {resolution} | {way} | does not fit | | |", flush=True)
                continue
            reference = reference or milliseconds
            ratio = milliseconds / reference
            print(f"| {resolution} | {way} | {milliseconds:.1f} | {memory:.0f} | {ratio:.1f}x |", flush=True)


if __name__ == "__main__":
    main()
