"""Voxel-MAE beside a plain restatement of padded window batches, at the published size.

Published SST code sorts windows into levels by their number of tokens, pads all windows of a level to one length (30,
60, 100, 200, 256), projects and attends the padded rows under a mask, and copies the rows back, in every layer. The
peer does that with the same weights, so both give the same numbers. Memory: bytes of the tensors that the forward pass
keeps for the backward pass, each storage counted once, without the parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Case, run
from mae3d.models.backbones import SSTBackbone
from mae3d.models.methods import VoxelMAE, voxel_mae_base
from mae3d.ops import window_partition
from mae3d.structures import VoxelGrid, VoxelMask, Voxels

TITLE = "Voxel-MAE, published size"
LEVELS = ((0, 30, 30), (30, 60, 60), (60, 100, 100), (100, 200, 200), (200, 10**9, 256))


def driving_cloud(points: int, seed: int = 0) -> Tensor:
    """One cloud [N, 4]: rings on the ground and walls, denser near the sensor; metres, last column the lag."""
    generator = torch.Generator().manual_seed(seed)
    azimuth = torch.rand(points, generator=generator) * 2 * torch.pi
    ring = torch.randint(0, 32, (points,), generator=generator)
    walls = 12 + 35 * torch.rand(64, generator=generator).repeat_interleave(8)[(azimuth * 81).long() % 512]
    reach = torch.minimum(1.8 / torch.tan(torch.linspace(0.5, 0.02, 32)[ring]), walls)
    reach = reach + 0.02 * torch.randn(points, generator=generator)
    height = torch.where(reach < walls - 0.5, -1.8, torch.rand(points, generator=generator) * 3 - 1.8)
    lag = torch.randint(0, 2, (points,), generator=generator) * 0.05
    return torch.stack((reach * azimuth.cos(), reach * azimuth.sin(), height, lag), dim=1)


class PaddedLevel:
    """Windows of one level: where each token stands in the padded batch [W, L]."""

    def __init__(self, rows: Tensor, windows: Tensor, length: int) -> None:
        order = windows.argsort(stable=True)
        _, counts = windows[order].unique_consecutive(return_counts=True)
        starts = counts.cumsum(0) - counts
        number = torch.repeat_interleave(torch.arange(len(counts), device=rows.device), counts)
        rank = torch.arange(len(rows), device=rows.device) - starts[number]
        self.rows, self.shape = rows[order], (len(counts), length)
        self.slots = number * length + rank
        self.padding = torch.ones(len(counts) * length, dtype=torch.bool, device=rows.device)
        self.padding[self.slots] = False
        self.padding = self.padding.view(self.shape)

    def pad(self, x: Tensor) -> Tensor:
        padded = x.new_zeros(self.padding.numel(), x.shape[1])
        padded[self.slots] = x[self.rows]
        return padded.view(*self.shape, -1)


def levels_of(voxels: Voxels, window: tuple[int, int, int], shifted: bool) -> tuple[list[PaddedLevel], Tensor]:
    part = window_partition(voxels.coordinates, window, voxels.grid.grid_size, shifted=shifted)
    _, inverse, counts = part.windows.unique(return_inverse=True, return_counts=True)
    count = counts[inverse]
    found = []
    for low, high, length in LEVELS:
        rows = ((count >= low) & (count < high)).nonzero().squeeze(1)
        if len(rows):
            found.append(PaddedLevel(rows, part.windows[rows], length))
    return found, part.in_window[:, 1] * window[0] + part.in_window[:, 2]


def padded_sst(model: SSTBackbone, voxels: Voxels, explicit_softmax: bool = False) -> Tensor:
    """The published scheme with the weights of ``model``."""
    sides = [levels_of(voxels, model.window, shifted) for shifted in (False, True)]
    positions = [[level.pad(model.position(cells)) for level in found] for found, cells in sides]
    x = voxels.features
    for index, block in enumerate(model.blocks):
        attended = torch.zeros_like(x)
        for level, position in zip(sides[index % 2][0], positions[index % 2]):
            padded = level.pad(x)
            result = padded_attention(block.attn, padded, position, level.padding, explicit_softmax)
            attended[level.rows] = result.flatten(0, 1)[level.slots]
        x = block.norm1(x + attended)
        x = block.norm2(x + block.mlp(x))
    return x


def padded_attention(attn: nn.Module, x: Tensor, position: Tensor, padding: Tensor, explicit: bool) -> Tensor:
    width = x.shape[-1]
    weight, bias = attn.qkv.weight, attn.qkv.bias
    both = F.linear(x + position, weight[: 2 * width], bias[: 2 * width])
    value = F.linear(x, weight[2 * width :], bias[2 * width :])
    query, key, value = (
        rows.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for rows in (*both.chunk(2, -1), value)
    )
    if explicit:
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=~padding[:, None, None])
    return attn.proj(mixed.transpose(1, 2).flatten(-2))


def padded_loss(model: VoxelMAE, points: Tensor, offsets: Tensor, mask: VoxelMask) -> Tensor:
    """A whole pre-training pass with padded windows in encoder and decoder; other parts as ours."""
    voxels = model.tokenizer(points, offsets)
    latents = padded_sst(model.encoder, voxels.select(mask.visible))
    coordinates = torch.cat((voxels.coordinates, mask.empty))
    tokens = model.decoder.mask_token.expand(len(coordinates), -1).index_copy(0, mask.visible, latents)
    everything = Voxels(coordinates, voxels.offsets, voxels.grid, tokens)
    decoded = padded_sst(model.decoder.transformer, everything)
    return sum(model.weigh(model.compare(decoded, points, voxels, mask)).values())


def kept_megabytes(forward: Callable[[], Tensor], model: nn.Module) -> float:
    """What the forward pass keeps for the backward pass."""
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        result = forward()
        return (torch.cuda.memory_allocated() - before - result.nbytes) / 1e6
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        result = forward()
    del result
    return sum(kept.values()) / 1e6


def setting(frames: int, points: int, device: str) -> tuple[VoxelMAE, Tensor, Tensor, VoxelMask]:
    torch.manual_seed(0)
    model = voxel_mae_base().to(device).train()
    cloud = torch.cat([driving_cloud(points, seed) for seed in range(frames)]).to(device)
    offsets = torch.arange(frames + 1, device=device) * points
    voxels = Voxels.from_points(cloud, offsets, VoxelGrid(model.tokenizer.grid.point_range, (0.5, 0.5, 8.0)))
    mask = model.masking(voxels, torch.Generator().manual_seed(0))
    return model, cloud, offsets, mask


def cases() -> list[Case]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, cloud, offsets, mask = setting(4 if device == "cuda" else 1, 60_000, device)
    with torch.no_grad():
        voxels = model.tokenizer(cloud, offsets)
    visible = voxels.select(mask.visible)
    name = f"{len(voxels)} voxels, {len(visible)} visible"

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def once() -> None:
            model.zero_grad(set_to_none=True)
            loss().backward()

        return once

    encoder = model.encoder
    ours = {
        f"encoder step, {name}": lambda: encoder(visible).features.square().mean(),
        f"pre-training step, {name}": lambda: sum(model(cloud, "loss", offsets=offsets, mask=mask).values()),
    }
    peers = {
        f"encoder step, {name}": {
            "padded levels, SDPA": lambda: padded_sst(encoder, visible).square().mean(),
            "padded levels, softmax": lambda: padded_sst(encoder, visible, True).square().mean(),
        },
        f"pre-training step, {name}": {"padded levels, SDPA": lambda: padded_loss(model, cloud, offsets, mask)},
    }
    result = []
    for case, loss in ours.items():
        kept = {"mae3d": kept_megabytes(loss, model)}
        for peer, other in peers[case].items():
            torch.testing.assert_close(other(), loss(), rtol=1e-4, atol=1e-5)
            kept[peer] = kept_megabytes(other, model)
        steps = {peer: step(other) for peer, other in peers[case].items()}
        result.append(Case(case, step(loss), steps, kept=kept))
    return result


if __name__ == "__main__":
    run(TITLE, cases())
