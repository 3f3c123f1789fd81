"""P3P restated from its specification, on an official-layout state dict: loops over voxels and patches.

Plain functions over tensors named as in the official files; shares no code with the package. Runs in the dtype of
the weights it is given.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


class Grid(NamedTuple):
    """Voxels of one cloud: ``patches`` in token order, each a dict from (a, b, c) to the voxel's raw columns."""

    patches: list[tuple[int, int, int]]
    voxels: list[dict[tuple[int, int, int], Tensor]]


def voxelize(cloud: Tensor, cells: int, side: int) -> Grid:
    """Cells of a cloud [N, 3 or 6] in [-1, 1]^3, the maximum of each column over the points of a cell."""
    found: dict[tuple[int, ...], Tensor] = {}
    for point in cloud:
        index = tuple(int(value) for value in ((point[:3] + 1) / 2 * cells).trunc())
        found[index] = torch.maximum(found[index], point) if index in found else point
    patches = sorted({tuple(i // side for i in index) for index in found})
    voxels = [
        {
            tuple(i % side for i in index): found[index]
            for index in sorted(found)
            if tuple(i // side for i in index) == patch
        }
        for patch in patches
    ]
    return Grid(patches, voxels)


def decorate(voxels: dict[tuple[int, int, int], Tensor]) -> dict[tuple[int, int, int], Tensor]:
    """[xyz, rgb, xyz - m, m] of the voxels of one patch."""
    mean = torch.stack([value[:3] for value in voxels.values()]).mean(0)
    return {cell: torch.cat((value, value[:3] - mean, mean)) for cell, value in voxels.items()}


def _linear(x: Tensor, state: State, key: str) -> Tensor:
    return F.linear(x, state[f"{key}.weight"], state.get(f"{key}.bias"))


def _norm(x: Tensor, state: State, key: str) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    spread = (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return centered / spread * state[f"{key}.weight"] + state[f"{key}.bias"]


def position(corner: Tensor, state: State, key: str) -> Tensor:
    """Patch corners in [0, 1) -> position embedding."""
    return _linear(F.gelu(_linear(corner, state, f"{key}.0")), state, f"{key}.2")


def _block(x: Tensor, bias: Tensor, state: State, key: str, heads: int) -> Tensor:
    count, width = x.shape
    qkv = _linear(_norm(x, state, f"{key}.norm1"), state, f"{key}.attn.qkv")
    q, k, v = qkv.reshape(count, 3, heads, -1).permute(1, 2, 0, 3)
    weights = (q @ k.mT * (width // heads) ** -0.5 + bias).softmax(-1)
    x = x + _linear((weights @ v).transpose(0, 1).reshape(count, width), state, f"{key}.attn.proj")
    hidden = F.gelu(_linear(_norm(x, state, f"{key}.norm2"), state, f"{key}.mlp.fc1"))
    return x + _linear(hidden, state, f"{key}.mlp.fc2")


def _blocks(x: Tensor, bias: Tensor, state: State, prefix: str, heads: int) -> Tensor:
    number = 0
    while f"{prefix}.{number}.norm1.weight" in state:
        x = _block(x, bias, state, f"{prefix}.{number}", heads)
        number += 1
    return x


class Sample(NamedTuple):
    """One cloud as tokens [L, D] (padding included), corners [L, 3], attention bias [L, L] and its voxels."""

    tokens: Tensor
    corners: Tensor
    bias: Tensor
    voxels: list[dict[tuple[int, int, int], Tensor]]


def tokenize(cloud: Tensor, state: State, cells: int, side: int, length: int) -> Sample:
    """Tokens before their position is added, padded to ``length``."""
    grid = voxelize(cloud, cells, side)
    weight = state["patch_embed.proj_weights"]
    tokens = weight.new_zeros(length, weight.shape[2])
    corners = weight.new_zeros(length, 3)
    voxels = [decorate(patch) for patch in grid.voxels]
    for number, (patch, content) in enumerate(zip(grid.patches, voxels)):
        embedded = [value @ weight[a + side * b + side * side * c] for (a, b, c), value in content.items()]
        tokens[number] = torch.stack(embedded).mean(0)
        corners[number] = torch.tensor(patch, dtype=weight.dtype) / (cells // side)
    bias = weight.new_zeros(length, length)
    bias[len(voxels) :, len(voxels) :] = -torch.inf
    return Sample(tokens, corners, bias, voxels)


def pretrain(clouds: list[Tensor], masked: Tensor, state: State, heads: int, decoder_heads: int, **size: int) -> dict:
    """Pre-training pass; ``masked`` bool [B, L] and size: cells, side, length. Losses as published."""
    side, channels = size["side"], state["patch_embed.proj_weights"].shape[1]
    chamfers, squares, predictions, targets, logits, labels = [], [], [], [], [], []
    for cloud, hidden in zip(clouds, masked):
        sample = tokenize(cloud, state, **size)
        rows = torch.cat((torch.zeros(1, dtype=torch.long), 1 + (~hidden).nonzero().squeeze(1)))
        bias = F.pad(sample.bias, (1, 0, 1, 0))
        x = sample.tokens + position(sample.corners, state, "patch_embed.pos_embed_enc")
        x = torch.cat((state["cls_token"][0], x))[rows]
        x = _norm(_blocks(x, bias[rows][:, rows], state, "blocks", heads), state, "norm")
        full = state["mask_token"][0].repeat(1 + size["length"], 1)
        full[rows] = _linear(x, state, "decoder_embed")
        full[1:] += position(sample.corners, state, "patch_embed.pos_embed_dec")
        decoded = _norm(_blocks(full, bias, state, "decoder_blocks", decoder_heads), state, "decoder_norm")[1:]
        features = _linear(decoded, state, "decoder_pred").reshape(size["length"], side**3, channels)
        logits.append(_linear(decoded, state, "occupancy_pred").reshape(size["length"], side**3, 2))
        label = torch.zeros(size["length"], side**3, dtype=torch.long)
        predicted, wanted = [], []
        for number, content in enumerate(sample.voxels):
            if not hidden[number]:
                continue
            for (a, b, c), value in content.items():
                slot = side * side * a + side * b + c
                label[number, slot] = 1
                predicted.append(features[number, slot])
                wanted.append(value)
        labels.append(label)
        p, g = torch.stack(predicted), torch.stack(wanted)
        predictions.append(p)
        targets.append(g)
        distance = (p[:, None, :3] - g[None, :, :3]).square().sum(-1)
        chamfers.append(distance.amin(1).mean() + distance.amin(0).mean())
        squares.append((p[:, 3:] - g[:, 3:]).square().mean(0))
    count = sum(len(p) for p in predictions)
    feature_loss = (torch.stack(chamfers).mean() + torch.stack(squares)).sum() / count
    occupancy = F.cross_entropy(torch.stack(logits).reshape(-1, 2), torch.stack(labels).reshape(-1))
    return {
        "prediction": torch.cat(predictions),
        "target": torch.cat(targets),
        "loss_voxels": feature_loss,
        "loss_occupancy": occupancy,
        "chamfer": torch.stack(chamfers),
        "squared": torch.stack(squares),
        "logits": torch.stack(logits),
        "labels": torch.stack(labels),
    }


def classify(clouds: list[Tensor], state: State, heads: int, **size: int) -> Tensor:
    """Scores of the fine-tuned network in eval mode; size: cells, side, length."""
    scores = []
    for cloud in clouds:
        sample = tokenize(cloud, state, **size)
        x = sample.tokens + position(sample.corners, state, "patch_embed.pos_embed_enc")
        x = torch.cat((state["cls_token"][0] + state["pos_embed_cls"].reshape(1, -1), x))
        x = _norm(_blocks(x, F.pad(sample.bias, (1, 0, 1, 0)), state, "blocks", heads), state, "norm")
        scores.append(_linear(x[0], state, "head"))
    return torch.stack(scores)


def official_state(
    width: int, depth: int, decoder_width: int, decoder_depth: int, side: int, channels: int = 12, seed: int = 0
) -> State:
    """Random pre-training state dict in the official layout, float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float | None = None) -> Tensor:
        return torch.randn(*shape, generator=generator) * (scale or shape[-1] ** -0.5)

    state: State = {
        "cls_token": normal(1, 1, width, scale=0.5),
        "mask_token": normal(1, 1, decoder_width, scale=0.5),
        "patch_embed.proj_weights": normal(side**3, channels, width, scale=0.5),
    }

    def linear(name: str, fan_in: int, fan_out: int) -> None:
        state[f"{name}.weight"] = normal(fan_out, fan_in)
        state[f"{name}.bias"] = normal(fan_out, scale=0.1)

    def norm(name: str, size: int) -> None:
        state[f"{name}.weight"] = 1 + normal(size, scale=0.1)
        state[f"{name}.bias"] = normal(size, scale=0.1)

    for part, size in (("enc", width), ("dec", decoder_width)):
        linear(f"patch_embed.pos_embed_{part}.0", 3, size)
        linear(f"patch_embed.pos_embed_{part}.2", size, size)
    layers = [(f"blocks.{i}", width) for i in range(depth)]
    layers += [(f"decoder_blocks.{i}", decoder_width) for i in range(decoder_depth)]
    for layer, size in layers:
        norm(f"{layer}.norm1", size)
        linear(f"{layer}.attn.qkv", size, 3 * size)
        linear(f"{layer}.attn.proj", size, size)
        norm(f"{layer}.norm2", size)
        linear(f"{layer}.mlp.fc1", size, 4 * size)
        linear(f"{layer}.mlp.fc2", 4 * size, size)
    norm("norm", width)
    linear("decoder_embed", width, decoder_width)
    norm("decoder_norm", decoder_width)
    linear("decoder_pred", decoder_width, side**3 * channels)
    linear("occupancy_pred", decoder_width, side**3 * 2)
    return state


def classifier_state(pretrained: State, classes: int, seed: int = 1) -> State:
    """Random fine-tuned classifier around the encoder of a pre-training state."""
    generator = torch.Generator().manual_seed(seed)
    left_out = ("mask_token", "decoder_", "occupancy_pred", "patch_embed.pos_embed_dec")
    state = {name: value for name, value in pretrained.items() if not name.startswith(left_out)}
    width = state["norm.weight"].shape[0]
    state["pos_embed_cls"] = torch.randn(1, 1, width, generator=generator)
    state["head.weight"] = torch.randn(classes, width, generator=generator) * width**-0.5
    state["head.bias"] = torch.randn(classes, generator=generator)
    return state
