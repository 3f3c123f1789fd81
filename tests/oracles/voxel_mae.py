"""Voxel-MAE restated from the paper and the names of the official checkpoint, as plainly as possible.

Weights are the official state dict. No windows are cut: every layer attends over all tokens of the batch at once, with
a dense mask that lets tokens of one window see each other. Losses are loops over voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


@dataclass
class Setting:
    low: tuple[float, float, float] = (-50.0, -50.0, -5.0)
    size: tuple[float, float, float] = (0.5, 0.5, 8.0)
    cells: tuple[int, int, int] = (200, 200, 1)
    window: tuple[int, int] = (16, 16)
    heads: int = 8
    temperature: float = 10000.0


def voxelize(points: Tensor, offsets: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
    """Unique (sample, z, y, x) rows in ascending order and the row of every point; outside points are clamped."""
    low, size = torch.tensor(setting.low), torch.tensor(setting.size)
    cell = ((points[:, :3] - low) / size).floor().long()
    cell = cell.clamp(min=0).minimum(torch.tensor(setting.cells) - 1)
    sample = torch.repeat_interleave(offsets.diff())
    rows = torch.stack((sample, cell[:, 2], cell[:, 1], cell[:, 0]), dim=1)
    return torch.unique(rows, dim=0, return_inverse=True)


def centers(coordinates: Tensor, setting: Setting) -> Tensor:
    low, size = torch.tensor(setting.low), torch.tensor(setting.size)
    return coordinates[:, [3, 2, 1]] * size + size / 2 + low


def voxel_features(state: State, points: Tensor, index: Tensor, coordinates: Tensor, setting: Setting) -> Tensor:
    """DynamicVFE with batch statistics."""
    mean = torch.stack([points[index == row, :3].mean(0) for row in range(len(coordinates))])
    x = torch.cat((points, points[:, :3] - mean[index], points[:, :3] - centers(coordinates, setting)[index]), 1)
    for layer in range(2):
        prefix = f"voxel_encoder.vfe_layers.{layer}"
        x = x @ state[f"{prefix}.linear.weight"].T
        normal = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-3).sqrt()
        x = (normal * state[f"{prefix}.norm.weight"] + state[f"{prefix}.norm.bias"]).relu()
        most = torch.stack([x[index == row].amax(0) for row in range(len(coordinates))])
        x = torch.cat((x, most[index]), 1)
    return most


def same_window(coordinates: Tensor, shifted: bool, setting: Setting) -> tuple[Tensor, Tensor]:
    """Who may see whom [T, T], and the place inside the window (x, y) [T, 2]."""
    window = torch.tensor(setting.window)
    moved = coordinates[:, [3, 2]] + (window // 2 if shifted else window)
    number = torch.cat((coordinates[:, :1], moved // window), 1)
    return (number[:, None] == number[None]).all(-1), moved % window


def position(place: Tensor, width: int, setting: Setting) -> Tensor:
    half = width // 2
    result = torch.zeros(len(place), width)
    for axis in range(2):
        centered = place[:, axis] - setting.window[axis] / 2
        for channel in range(half):
            phase = centered / setting.temperature ** (2 * (channel // 2) / half)
            result[:, axis * half + channel] = phase.cos() if channel % 2 else phase.sin()
    return result


def transformer(state: State, prefix: str, x: Tensor, coordinates: Tensor, setting: Setting) -> Tensor:
    width = x.shape[1]
    blocks = 1 + max(int(k.split(".")[2]) for k in state if k.startswith(f"{prefix}.block_list."))
    for layer in range(2 * blocks):
        visible, place = same_window(coordinates, layer % 2 == 1, setting)
        at = x + position(place, width, setting)
        name = f"{prefix}.block_list.{layer // 2}.encoder_list.{layer % 2}"
        attended, _ = F.multi_head_attention_forward(
            at[:, None],
            at[:, None],
            x[:, None],
            width,
            setting.heads,
            state[f"{name}.win_attn.self_attn.in_proj_weight"],
            state[f"{name}.win_attn.self_attn.in_proj_bias"],
            None,
            None,
            False,
            0.0,
            state[f"{name}.win_attn.self_attn.out_proj.weight"],
            state[f"{name}.win_attn.self_attn.out_proj.bias"],
            attn_mask=~visible,
            need_weights=False,
        )
        x = _norm(state, f"{name}.norm1", x + attended[:, 0])
        hidden = F.gelu(_linear(state, f"{name}.linear1", x))
        x = _norm(state, f"{name}.norm2", x + _linear(state, f"{name}.linear2", hidden))
    return x


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].flatten(1).T + state[f"{name}.bias"]


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def losses(
    state: State, points: Tensor, offsets: Tensor, masked: Tensor, empty: Tensor, setting: Setting
) -> dict[str, Tensor]:
    """The four terms for a given mask (bool [V]) and given empty cells [E, 4]."""
    coordinates, index = voxelize(points, offsets, setting)
    features = voxel_features(state, points, index, coordinates, setting)
    latents = transformer(state, "backbone", features[~masked], coordinates[~masked], setting)
    everything = torch.cat((coordinates, empty))
    tokens = state["neck.mask_token"].repeat(len(everything), 1)
    tokens[: len(coordinates)][~masked] = latents
    decoded = transformer(state, "neck", tokens, everything, setting)

    hidden = masked.nonzero().squeeze(1)
    occupied = _linear(state, "bbox_head.conv_occupied", decoded).squeeze(1)
    label = torch.cat((torch.zeros(len(coordinates)), torch.ones(len(empty))))
    number = _linear(state, "bbox_head.conv_num_points", decoded[hidden]).squeeze(1)
    predicted = _linear(state, "bbox_head.conv_chamfer", decoded[hidden]).tanh().reshape(len(hidden), -1, 3)

    source, target, counts = [], [], []
    middle, size = centers(coordinates, setting), torch.tensor(setting.size)
    for row, voxel in enumerate(hidden.tolist()):
        inside = (points[index == voxel, :3] - middle[voxel]) * 2 / size
        squared = (predicted[row][:, None] - inside[None]).square().sum(-1)
        source.append(squared.amin(1))
        target.append(squared.amin(0).mean())
        counts.append(float(len(inside)))
    return {
        "loss_points_to_target": torch.cat(source).mean(),
        "loss_points_to_prediction": torch.stack(target).mean(),
        "loss_count": F.smooth_l1_loss(number, torch.tensor(counts)),
        "loss_occupancy": F.binary_cross_entropy_with_logits(occupied, label),
    }


def random_state(width: int, hidden: int, blocks: int, decoder_blocks: int, points: int, columns: int = 4) -> State:
    """Official names with random weights, from the global RNG."""
    state: State = {"neck.mask_token": torch.randn(1, width) * 0.02}
    for layer, (inputs, outputs) in enumerate(((columns + 6, hidden), (2 * hidden, width))):
        prefix = f"voxel_encoder.vfe_layers.{layer}"
        state |= {
            f"{prefix}.linear.weight": torch.randn(outputs, inputs) / inputs**0.5,
            f"{prefix}.norm.weight": torch.rand(outputs) + 0.5,
            f"{prefix}.norm.bias": torch.randn(outputs) * 0.1,
            f"{prefix}.norm.running_mean": torch.zeros(outputs),
            f"{prefix}.norm.running_var": torch.ones(outputs),
            f"{prefix}.norm.num_batches_tracked": torch.tensor(0),
        }
    for prefix, count in (("backbone", blocks), ("neck", decoder_blocks)):
        for layer in range(2 * count):
            state |= _random_layer(f"{prefix}.block_list.{layer // 2}.encoder_list.{layer % 2}", width)
    for name, outputs in (("occupied", 1), ("num_points", 1), ("chamfer", 3 * points)):
        state[f"bbox_head.conv_{name}.weight"] = torch.randn(outputs, width, 1) / width**0.5
        state[f"bbox_head.conv_{name}.bias"] = torch.randn(outputs) * 0.1
    return state


def _random_layer(name: str, width: int) -> State:
    shapes = {
        "win_attn.self_attn.in_proj_weight": (3 * width, width),
        "win_attn.self_attn.in_proj_bias": (3 * width,),
        "win_attn.self_attn.out_proj.weight": (width, width),
        "win_attn.self_attn.out_proj.bias": (width,),
        "linear1.weight": (2 * width, width),
        "linear1.bias": (2 * width,),
        "linear2.weight": (width, 2 * width),
        "linear2.bias": (width,),
    }
    state = {f"{name}.{key}": torch.randn(shape) / width**0.5 for key, shape in shapes.items()}
    for norm in ("norm1", "norm2"):
        state |= {f"{name}.{norm}.weight": torch.rand(width) + 0.5, f"{name}.{norm}.bias": torch.randn(width) * 0.1}
    return state
