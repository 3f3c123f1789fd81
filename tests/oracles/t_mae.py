"""T-MAE and GD-MAE restated from the papers and the names of the official checkpoints, as plainly as possible.

Weights are the official state dict. No windows are cut: attention runs over all tokens at once, with a dense mask that
lets tokens of one window see each other. Sparse convolutions are dense ones, read at the cells that exist. Losses are
loops over pillars. BatchNorm takes batch statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
Sparse = tuple[Tensor, Tensor]
"""Cells [V, 3] (sample, y, x) and features [V, C]."""


@dataclass
class Setting:
    low: tuple[float, float, float] = (-8.0, -8.0, -2.0)
    size: tuple[float, float, float] = (1.0, 1.0, 4.0)
    cells: tuple[int, int] = (16, 16)
    samples: int = 3
    window: int = 4
    heads: int = 2
    predicted: int = 4
    slots: int = 8
    vfe_eps: float = 1e-5


def pillars(points: Tensor, offsets: Tensor, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Cells [V, 3] (sample, y, x), the points that lie in one, and the cell of each. Cell numbers are truncated."""
    quotient = (points[:, :3] - torch.tensor(setting.low)) / torch.tensor(setting.size)
    cell = quotient.trunc().long()
    inside = ((cell >= 0) & (cell < torch.tensor((*setting.cells, 1)))).all(1)
    sample = torch.repeat_interleave(offsets.diff())
    rows = torch.stack((sample, cell[:, 1], cell[:, 0]), 1)[inside]
    found, index = torch.unique(rows, dim=0, return_inverse=True)
    return found, points[inside], index


def centers(cells: Tensor, setting: Setting) -> Tensor:
    cell = torch.stack((cells[:, 2], cells[:, 1], torch.zeros(len(cells), dtype=torch.int64)), 1)
    return (cell + 0.5) * torch.tensor(setting.size) + torch.tensor(setting.low)


def batch_norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    """Over all axes but the second."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    normal = (x - mean) / (variance + eps).sqrt()
    return normal * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)


def voxel_features(state: State, points: Tensor, index: Tensor, cells: Tensor, setting: Setting) -> Tensor:
    mean = torch.stack([points[index == row, :3].mean(0) for row in range(len(cells))])
    x = torch.cat((points[:, :3] - centers(cells, setting)[index], points, points[:, :3] - mean[index]), 1)
    for layer in (0, 3):
        x = x @ state[f"vfe.dvfe_mlps.0.{layer}.weight"].T
        x = batch_norm(state, f"vfe.dvfe_mlps.0.{layer + 1}", x, setting.vfe_eps).relu()
    return torch.stack([x[index == row].amax(0) for row in range(len(cells))])


def dense(sparse: Sparse, shape: tuple[int, int], samples: int) -> Tensor:
    cells, features = sparse
    grid = torch.zeros(samples, *shape, features.shape[1])
    return grid.index_put(tuple(cells.T), features).permute(0, 3, 1, 2)


def read(grid: Tensor, cells: Tensor) -> Tensor:
    return grid.permute(0, 2, 3, 1)[tuple(cells.T)]


def convolution(state: State, name: str, sparse: Sparse, shape: tuple[int, int], samples: int, stride: int) -> Sparse:
    """Sparse convolution, norm and ReLU; stride 1 keeps the cells."""
    weight = state[f"{name}.0.weight"].permute(0, 3, 1, 2)
    result = F.conv2d(dense(sparse, shape, samples), weight, stride=stride, padding=1)
    cells = sparse[0]
    if stride > 1:
        occupied = dense((cells, torch.ones(len(cells), 1)), shape, samples)
        reached = F.conv2d(occupied, torch.ones(1, 1, 3, 3), stride=stride, padding=1)
        cells = (reached[:, 0] > 0).nonzero()
    return cells, batch_norm(state, f"{name}.1", read(result, cells), 1e-3).relu()


def windows(cells: Tensor, shifted: bool, window: int) -> tuple[Tensor, Tensor]:
    """Number of the window (sample, y, x) [V, 3] and place inside (x, y) [V, 2]."""
    moved = cells[:, 1:] + (window // 2 if shifted else window)
    return torch.cat((cells[:, :1], moved // window), 1), (moved % window).flip(1)


def position(place: Tensor, width: int, window: int) -> Tensor:
    half = width // 2
    result = torch.zeros(len(place), width)
    for axis in range(2):
        centered = place[:, axis] - window / 2
        for channel in range(half):
            phase = centered / 1000.0 ** (2 * (channel // 2) / half)
            result[:, axis * half + channel] = phase.cos() if channel % 2 else phase.sin()
    return result


def attend(state: State, name: str, x: Tensor, at: Tensor, y: Tensor, at_y: Tensor, visible: Tensor, heads: int):
    """Cosine attention of x [T, C] to y [S, C] where ``visible`` [T, S]; rows that see nothing get zero."""
    weight, bias = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    query, key, value = (
        (rows @ w.T + b).unflatten(1, (heads, -1)).transpose(0, 1)
        for rows, w, b in zip((x + at, y + at_y, y), weight, bias)
    )
    query, key = (rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) for rows in (query, key))
    score = query @ key.transpose(1, 2) / state[f"{name}.tau"].clamp(min=0.01)
    score = score.masked_fill(~visible, -torch.inf)
    sees = visible.any(1)
    share = torch.zeros_like(score)
    share[:, sees] = score[:, sees].softmax(-1)
    mixed = (share @ value).transpose(0, 1).flatten(1)
    out = mixed @ state[f"{name}.out_proj.weight"].T + state[f"{name}.out_proj.bias"]
    return out * sees[:, None]


def feed_forward(state: State, name: str, x: Tensor) -> Tensor:
    hidden = F.gelu(x @ state[f"{name}.linear1.weight"].T + state[f"{name}.linear1.bias"])
    return x + hidden @ state[f"{name}.linear2.weight"].T + state[f"{name}.linear2.bias"]


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def transformer(state: State, prefix: str, kind: str, now: Sparse, before: Sparse, setting: Setting) -> Tensor:
    """All layers under ``prefix``: "self_attn" looks at the tokens themselves, "cross_attn" at ``before``."""
    cells, x = now
    blocks = 1 + max(int(k.split(".")[4]) for k in state if k.startswith(f"{prefix}.encoder_blocks."))
    for layer in range(2 * blocks):
        number, place = windows(cells, layer % 2 == 1, setting.window)
        other, other_place = windows(before[0], layer % 2 == 1, setting.window)
        y = x if kind == "self_attn" else before[1]
        visible = (number[:, None] == other[None]).all(-1)
        at, at_y = (position(p, x.shape[1], setting.window) for p in (place, other_place))
        name = f"{prefix}.encoder_blocks.{layer // 2}.encoder_list.{layer % 2}"
        x = x + attend(state, f"{name}.win_attn.{kind}", x, at, y, at_y, visible, setting.heads)
        x = layer_norm(state, f"{name}.norm1", x)
        x = layer_norm(state, f"{name}.norm2", feed_forward(state, name, x))
    return x


def pyramid(state: State, sparse: Sparse, setting: Setting) -> list[tuple[Sparse, tuple[int, int]]]:
    """Cells and features of each stage, and the size of its grid (y, x)."""
    shape, levels = setting.cells[::-1], []
    for stage in range(3):
        name = f"backbone_3d.sst_blocks.{stage}"
        if stage:
            sparse = convolution(state, f"{name}.conv_down", sparse, shape, setting.samples, 2)
            shape = tuple((size - 1) // 2 + 1 for size in shape)
        attended = sparse[1] + transformer(state, name, "self_attn", sparse, sparse, setting)
        sparse = convolution(state, f"{name}.conv_out", (sparse[0], attended), shape, setting.samples, 1)
        levels.append((sparse, shape))
    return levels


def scales(state: State, now: Sparse, before: Sparse | None, setting: Setting) -> list[tuple[Sparse, tuple[int, int]]]:
    """The pyramid of the current frame, with cross-attention to that of the previous one where there is one."""
    levels = pyramid(state, now, setting)
    if before is None:
        return levels
    result = []
    for k, ((now, shape), (then, _)) in enumerate(zip(levels, pyramid(state, before, setting))):
        name = f"backbone_3d.wca_blocks.{k}"
        attended = now[1] + transformer(state, name, "cross_attn", now, then, setting)
        result.append((convolution(state, f"{name}.conv_out", (now[0], attended), shape, setting.samples, 1), shape))
    return result


def fuse(state: State, levels: list[tuple[Sparse, tuple[int, int]]], setting: Setting, prefix: str) -> Tensor:
    """Dense map [B, C, y, x]; ``prefix`` is "decoder_" in pre-training and empty in detectors."""
    maps = []
    for k, (sparse, shape) in enumerate(levels):
        name = f"backbone_3d.{prefix}deblocks.{k}"
        up = F.conv_transpose2d(dense(sparse, shape, setting.samples), state[f"{name}.0.weight"], stride=2**k)
        maps.append(batch_norm(state, f"{name}.1", up, 1e-3).relu())
    joined = F.conv2d(torch.cat(maps, 1), state[f"backbone_3d.{prefix}conv_out.0.weight"], padding=1)
    return batch_norm(state, f"backbone_3d.{prefix}conv_out.1", joined, 1e-3).relu()


def loss(state: State, frames: list[tuple[Tensor, Tensor]], masked: Tensor, setting: Setting) -> Tensor:
    """The published loss for a given mask (bool [V]); ``frames`` are (points, offsets): current(, previous)."""
    embedded = []
    for points, offsets in frames:
        cells, inside, index = pillars(points, offsets, setting)
        embedded.append((cells, inside, index, voxel_features(state, inside, index, cells, setting)))
    cells, inside, index, features = embedded[0]
    before = (embedded[1][0], embedded[1][3]) if len(frames) > 1 else None
    levels = scales(state, (cells[~masked], features[~masked]), before, setting)
    decoded = read(fuse(state, levels, setting, "decoder_"), cells)
    predicted = decoded @ state["backbone_3d.decoder_pred.weight"].T + state["backbone_3d.decoder_pred.bias"]
    total, middle = 0.0, centers(cells, setting)
    for row in masked.nonzero().squeeze(1).tolist():
        own = inside[index == row, :3][: setting.slots]
        slots = torch.stack([own[slot % len(own)] for slot in range(setting.slots)]) - middle[row]
        squared = (predicted[row].view(-1, 1, 3) - slots[None]).square().sum(-1)
        total = total + squared.amin(1).mean() + squared.amin(0).mean()
    return total / masked.sum()


def random_state(
    widths: tuple[int, ...] = (16, 16, 16),
    *,
    temporal: bool = True,
    depth: int = 1,
    columns: int = 4,
    hidden: int = 8,
    fused: int = 8,
    predicted: int = 4,
    detector_classes: int | None = None,
) -> State:
    """Official names with random weights, from the global RNG: pre-training, or a detector of so many classes."""
    state: State = {}

    def matrix(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape) / (torch.Size(shape[1:]).numel()) ** 0.5

    def norm(name: str, width: int, running: bool = True) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(width) + 0.5, torch.randn(width) * 0.1
        if running:
            state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.zeros(width), torch.ones(width)
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    def linear(name: str, outputs: int, inputs: int) -> None:
        matrix(f"{name}.weight", outputs, inputs)
        state[f"{name}.bias"] = torch.randn(outputs) * 0.1

    def attention_layers(prefix: str, kind: str, width: int, pairs: int) -> None:
        for layer in range(2 * pairs):
            name = f"{prefix}.encoder_blocks.{layer // 2}.encoder_list.{layer % 2}"
            matrix(f"{name}.win_attn.{kind}.in_proj_weight", 3 * width, width)
            state[f"{name}.win_attn.{kind}.in_proj_bias"] = torch.randn(3 * width) * 0.1
            state[f"{name}.win_attn.{kind}.tau"] = torch.rand(1, 1, 1) + 0.2
            linear(f"{name}.win_attn.{kind}.out_proj", width, width)
            linear(f"{name}.linear1", 2 * width, width)
            linear(f"{name}.linear2", width, 2 * width)
            norm(f"{name}.norm1", width, running=False)
            norm(f"{name}.norm2", width, running=False)
        matrix(f"{prefix}.conv_out.0.weight", width, 3, 3, width)
        norm(f"{prefix}.conv_out.1", width)

    for layer, (inputs, outputs) in zip((0, 3), ((columns + 6, hidden), (hidden, widths[0]))):
        matrix(f"vfe.dvfe_mlps.0.{layer}.weight", outputs, inputs)
        norm(f"vfe.dvfe_mlps.0.{layer + 1}", outputs)
    for k, width in enumerate(widths):
        if k:
            matrix(f"backbone_3d.sst_blocks.{k}.conv_down.0.weight", width, 3, 3, widths[k - 1])
            norm(f"backbone_3d.sst_blocks.{k}.conv_down.1", width)
        attention_layers(f"backbone_3d.sst_blocks.{k}", "self_attn", width, depth)
        if temporal:
            attention_layers(f"backbone_3d.wca_blocks.{k}", "cross_attn", width, 1)
    prefix = "backbone_3d." if detector_classes is not None else "backbone_3d.decoder_"
    for k, width in enumerate(widths):
        state[f"{prefix}deblocks.{k}.0.weight"] = torch.randn(width, fused, 2**k, 2**k) / width**0.5
        norm(f"{prefix}deblocks.{k}.1", fused)
    matrix(f"{prefix}conv_out.0.weight", fused, fused * len(widths), 3, 3)
    norm(f"{prefix}conv_out.1", fused)
    if detector_classes is None:
        linear("backbone_3d.decoder_pred", 3 * predicted, fused)
        return state
    for layer in range(4):
        matrix(f"backbone_2d.conv_layer.{layer}.0.weight", fused, fused, 3, 3)
        norm(f"backbone_2d.conv_layer.{layer}.1", fused)
    maps = {"center": 2, "center_z": 1, "dim": 3, "rot": 2, "hm": detector_classes}
    for name, outputs, inputs in (
        ("dense_head.shared_conv.0", 64, fused),
        *((f"dense_head.heads_list.0.{m}.0.0", 64, 64) for m in maps),
        *((f"dense_head.heads_list.0.{m}.1", outputs, 64) for m, outputs in maps.items()),
    ):
        matrix(f"{name}.weight", outputs, inputs, 3, 3)
        state[f"{name}.bias"] = torch.randn(outputs) * 0.1
    for name in ("dense_head.shared_conv.1", *(f"dense_head.heads_list.0.{m}.0.1" for m in maps)):
        norm(name, 64)
    return state
