"""Clouds to tokens, 1 000 to 1 000 000 points: voxel patches beside gather + bmm and beside FPS + kNN, time and memory.

Width 384, at most 512 tokens. "Points to tokens" is voxelisation, maxima, means and embedding, forward and backward;
"embedding" the operator alone on the same voxels. The gather + bmm form picks a matrix for each voxel first, which
takes voxels x 12 x 384 numbers; it is left out where that passes a limit. FPS + kNN + mini-PointNet makes min(512,
points / 8) tokens of 32 points. Peak memory is what the calls add: device allocator, or high-water mark of a process of
its own on a CPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, growth, run
from mae3d.models.tokenizers import PointPatchTokenizer, VoxelPatchTokenizer
from mae3d.ops import indexed_linear
from mae3d.structures import number_cells

TITLE = "Clouds to tokens of width 384: position-indexed weights"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
WIDTH = 384
MOST_GATHERED = (32 if DEVICE == "cuda" else 1) * 2**30
"""Bytes of picked matrices up to which the gather + bmm form runs."""


def surface(points: int) -> Tensor:
    """A lifted picture [N, 6]: columns and rows in a plane, a wavy depth, colours; inside the unit ball."""
    generator = torch.Generator().manual_seed(0)
    plane = torch.rand(points, 2, generator=generator) * 1.2 - 0.6
    depth = 0.3 * torch.sin(5 * plane[:, 0]) * torch.cos(4 * plane[:, 1]) + 0.2 * (plane[:, 0] > 0.1)
    color = torch.randn(points, 3, generator=generator)
    return torch.cat((plane[:, :1], depth[:, None], plane[:, 1:], color), dim=1).to(DEVICE)


def gather_bmm(features: Tensor, weight: Tensor, index: Tensor, group: Tensor, groups: int, reduce: str) -> Tensor:
    products = torch.bmm(features.unsqueeze(1), weight[index]).squeeze(1)
    counts = torch.bincount(group, minlength=groups).clamp(min=1)
    return products.new_zeros(groups, products.shape[1]).index_add(0, group, products) / counts[:, None]


def embedding(function: Callable[..., Tensor], points: int, dtype: torch.dtype = torch.float32) -> Call:
    """Forward and backward of the operator on the voxels of a cloud."""
    make = VoxelPatchTokenizer(WIDTH).to(DEVICE)
    tokens = make(surface(points), torch.tensor([0, points], device=DEVICE))
    index = number_cells(tokens.cells, 16, "little")
    weight = make.weight.detach().to(dtype).requires_grad_()
    voxels = tokens.voxels.to(dtype)

    def call() -> Tensor:
        weight.grad = None
        function(voxels, weight, index, tokens.token, len(tokens), "mean").square().sum().backward()
        return weight.grad

    return call


def many_voxels(voxels: int) -> Call:
    """Forward and backward of the operator on so many voxels, 64 to a token, at random places."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4096, 12, WIDTH, generator=generator).to(DEVICE).requires_grad_()
    features = torch.randn(voxels, 12, generator=generator).to(DEVICE)
    index = torch.randint(4096, (voxels,), generator=generator).to(DEVICE)
    group = torch.arange(voxels, device=DEVICE) // 64

    def call() -> Tensor:
        weight.grad = None
        indexed_linear(features, weight, index, group, ceil(voxels / 64), "mean").square().sum().backward()
        return weight.grad

    return call


def voxel_tokens(points: int) -> Call:
    make, cloud = VoxelPatchTokenizer(WIDTH).to(DEVICE), surface(points)
    offsets = torch.tensor([0, points], device=DEVICE)

    def call() -> Tensor:
        make.weight.grad = None
        make(cloud, offsets).features.square().sum().backward()
        return make.weight.grad

    return call


def point_tokens(points: int) -> Call:
    make = PointPatchTokenizer(min(512, points // 8), 32, WIDTH).to(DEVICE)
    cloud = surface(points)[None, :, :3].contiguous()

    def call() -> Tensor:
        make.zero_grad(set_to_none=True)
        make(cloud).features.square().sum().backward()
        return next(make.parameters()).grad

    return call


def gathered_bytes(points: int) -> int:
    """Size of the picked matrices of the cloud's voxels in float32."""
    tokens = VoxelPatchTokenizer(8).to(DEVICE)(surface(points), torch.tensor([0, points], device=DEVICE))
    return len(tokens.voxels) * 12 * WIDTH * 4


def peak_bytes(make: Callable[[], Call]) -> int:
    """What one call adds to the memory in use at most."""
    if DEVICE == "cuda":
        call = make()
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        call = make()
        Path("/proc/self/clear_refs").write_text("5")  # forget the high-water mark so far
        before = resident("VmRSS")
        call()
        os.write(writing, str(resident("VmHWM") - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        return int(stream.read())


def resident(field: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def cases() -> list[Case]:
    listed = []
    for points in SIZES:
        gathered = gathered_bytes(points)
        voxels = gathered // (12 * WIDTH * 4)
        fits = gathered <= MOST_GATHERED
        listed.append(
            Case(
                f"embedding, {points:,} points, {voxels:,} voxels",
                embedding(indexed_linear, points),
                {"gather + bmm": embedding(gather_bmm, points)} if fits else {},
                {} if fits else {"gather + bmm": f"{gathered / 2**30:.1f} GiB of matrices"},
                operations=4 * voxels * 12 * WIDTH,
            )
        )
        if DEVICE == "cuda":
            listed.append(
                Case(
                    f"embedding in bfloat16, {points:,} points",
                    embedding(indexed_linear, points, torch.bfloat16),
                    {"gather + bmm": embedding(gather_bmm, points, torch.bfloat16)} if fits else {},
                    operations=4 * voxels * 12 * WIDTH,
                )
            )
        listed.append(
            Case(
                f"points to tokens, {points:,} points",
                voxel_tokens(points),
                {"FPS + kNN + mini-PointNet": point_tokens(points)},
            )
        )
    return listed


def memory() -> str:
    """Peak memory of one forward and backward pass, as a markdown table."""
    forms: dict[str, Callable[[int], Call]] = {
        "embedding": lambda n: embedding(indexed_linear, n),
        "gather + bmm": lambda n: embedding(gather_bmm, n),
        "points to tokens": voxel_tokens,
        "FPS + kNN + mini-PointNet": point_tokens,
    }
    lines = ["### Peak memory added by forward and backward, MiB (the gradient of the weights is 72)", ""]
    lines += ["| form | " + " | ".join(f"{n:,} points" for n in SIZES) + " |", "|---" * (len(SIZES) + 1) + "|"]
    for name, make in forms.items():
        cells = []
        for points in SIZES:
            too_large = name == "gather + bmm" and gathered_bytes(points) > MOST_GATHERED
            cells.append("left out" if too_large else f"{peak_bytes(lambda m=make, n=points: m(n)) / 2**20:.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    table = memory()  # before any thread is started, so that processes can be forked
    run(TITLE, cases())
    growth("Growth with the voxels", {"embedding, forward and backward": many_voxels})
    print(table)
