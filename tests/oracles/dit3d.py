"""DiT-3D and FastDiT-3D restated from the specification, on a state dict in DiT-3D's official layout.

Plain loops and functions over tensors named as in the official files; shares no code with the package. Runs in the
dtype of the weights it is given. FastDiT-3D has no official file: its further tensors are named after its parts.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def official_state(
    width: int, depth: int, patch: int, grid: int, classes: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> State:
    """Random weights with the official names and shapes; nothing is zero, so that every part counts."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 0.2) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype) * scale

    state = {
        "pos_embed": positions(grid, width).to(dtype)[None],
        "x_embedder.proj.weight": draw(width, 3, patch, patch, patch),
        "x_embedder.proj.bias": draw(width),
        "t_embedder.mlp.0.weight": draw(width, 256, scale=0.06),
        "t_embedder.mlp.0.bias": draw(width),
        "t_embedder.mlp.2.weight": draw(width, width),
        "t_embedder.mlp.2.bias": draw(width),
        "y_embedder.embedding_table.weight": draw(classes + 1, width),
    }
    for index in range(depth):
        state |= block_state(f"blocks.{index}", width, width, draw)
    state["final_layer.linear.weight"] = draw(3 * patch**3, width)
    state["final_layer.linear.bias"] = draw(3 * patch**3)
    state["final_layer.adaLN_modulation.1.weight"] = draw(2 * width, width)
    state["final_layer.adaLN_modulation.1.bias"] = draw(2 * width)
    return state


def block_state(name: str, width: int, condition: int, draw) -> State:
    shapes = {
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
        "adaLN_modulation.1": (6 * width, condition),
    }
    state = {}
    for part, (rows, columns) in shapes.items():
        state[f"{name}.{part}.weight"] = draw(rows, columns)
        state[f"{name}.{part}.bias"] = draw(rows)
    return state


def positions(grid: int, width: int) -> Tensor:
    """Fixed table [grid^3, width], one scalar at a time."""
    per_axis = width // 3
    half = per_axis // 2
    table = torch.zeros(grid**3, width, dtype=torch.float64)
    for row, place in enumerate(itertools.product(range(grid), repeat=3)):
        for axis, coordinate in enumerate(place):
            for i in range(half):
                angle = coordinate / 10000 ** (i / half)
                table[row, axis * per_axis + i] = math.sin(angle)
                table[row, axis * per_axis + half + i] = math.cos(angle)
    return table.float()


def grid_place(points: Tensor, resolution: int) -> Tensor:
    """Continuous cell coordinates [N, 3] of one cloud."""
    centred = points - points.mean(0)
    unit = centred / (2 * centred.square().sum(-1).sqrt().max()) + 0.5
    return (unit * resolution).clamp(0, resolution - 1)


def voxelize(points: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Voxel means [3, R, R, R] and counts of one cloud, point by point."""
    total = torch.zeros(3, resolution, resolution, resolution, dtype=points.dtype)
    count = torch.zeros(resolution, resolution, resolution, dtype=points.dtype)
    for point, place in zip(points, grid_place(points, resolution)):
        x, y, z = (round(float(c)) for c in place)
        total[:, x, y, z] += point
        count[x, y, z] += 1
    return total / count.clamp(min=1), count


def devoxelize(grid: Tensor, places: Tensor) -> Tensor:
    """Trilinear reading of one grid [C, R, R, R] at [N, 3], corner by corner."""
    result = torch.zeros(len(places), grid.shape[0], dtype=grid.dtype)
    for row, place in enumerate(places):
        low = place.floor()
        fraction = place - low
        for corner in itertools.product((0, 1), repeat=3):
            weight = grid.new_ones(())
            cell = []
            for axis in range(3):
                weight = weight * (fraction[axis] if corner[axis] else 1 - fraction[axis])
                cell.append(int(low[axis]) + (corner[axis] if fraction[axis] > 0 else 0))
            result[row] += weight * grid[:, cell[0], cell[1], cell[2]]
    return result


def layer(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt()


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attend(x: Tensor, state: State, name: str, heads: int, groups: list[list[int]] | None = None) -> Tensor:
    """Self-attention over tokens [N, C]; inside ``groups`` of tokens, all of them by default."""
    query, key, value = layer(x, state, f"{name}.qkv").reshape(len(x), 3, heads, -1).unbind(1)
    result = torch.zeros_like(query)
    for rows in groups or [list(range(len(x)))]:
        for head in range(heads):
            q, k, v = (part[rows, head] for part in (query, key, value))
            result[rows, head] = (q @ k.T / math.sqrt(q.shape[-1])).softmax(-1) @ v
    return layer(result.flatten(1), state, f"{name}.proj")


def windows(grid: int, size: int) -> list[list[int]]:
    """Tokens of each cubic window."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, place in enumerate(itertools.product(range(grid), repeat=3)):
        found.setdefault(tuple(c // size for c in place), []).append(row)
    return list(found.values())


def mixture(x: Tensor, state: State, name: str) -> Tensor:
    """Each token through its most probable expert, times that probability."""
    probability = layer(x, state, f"{name}.router").softmax(-1)
    result = torch.zeros_like(x)
    for row in range(len(x)):
        expert = int(probability[row].argmax())
        hidden = gelu(state[f"{name}.weight1"][expert] @ x[row] + state[f"{name}.bias1"][expert])
        result[row] = state[f"{name}.weight2"][expert] @ hidden + state[f"{name}.bias2"][expert]
        result[row] *= probability[row, expert]
    return result


def block(
    x: Tensor, condition: Tensor, state: State, name: str, heads: int, groups: list[list[int]] | None = None
) -> Tensor:
    parts = layer(condition * condition.sigmoid(), state, f"{name}.adaLN_modulation.1")
    s1, g1, a1, s2, g2, a2 = parts.chunk(6)
    x = x + a1 * attend(norm(x) * (1 + g1) + s1, state, f"{name}.attn", heads, groups)
    inner = norm(x) * (1 + g2) + s2
    if f"{name}.mlp.weight1" in state:
        return x + a2 * mixture(inner, state, f"{name}.mlp")
    return x + a2 * layer(gelu(layer(inner, state, f"{name}.mlp.fc1")), state, f"{name}.mlp.fc2")


def condition_of(time: int, label: int, state: State) -> Tensor:
    dtype = state["pos_embed"].dtype
    # Phases in float32, as published: at time 999 their rounding is of the size of 1e-4.
    phase = time * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
    waves = torch.cat((phase.cos(), phase.sin())).to(dtype)
    hidden = layer(waves, state, "t_embedder.mlp.0")
    embedded = layer(hidden * hidden.sigmoid(), state, "t_embedder.mlp.2")
    return embedded + state["y_embedder.embedding_table.weight"][label]


def patch_tokens(voxels: Tensor, state: State) -> Tensor:
    """[N, C] from one grid [3, R, R, R] by the official convolution."""
    weight, bias = state["x_embedder.proj.weight"], state["x_embedder.proj.bias"]
    return F.conv3d(voxels[None], weight, bias, stride=weight.shape[-1])[0].flatten(1).T


def finish(x: Tensor, condition: Tensor, points: Tensor, state: State, resolution: int) -> Tensor:
    """Final layer, unpatchify, devoxelise: prediction [P, 3]."""
    shift, scale = layer(condition * condition.sigmoid(), state, "final_layer.adaLN_modulation.1").chunk(2)
    patches = layer(norm(x) * (1 + scale) + shift, state, "final_layer.linear")
    patch = round((patches.shape[1] / 3) ** (1 / 3))
    grid = resolution // patch
    voxels = torch.zeros(3, resolution, resolution, resolution, dtype=x.dtype)
    for row, (i, j, k) in enumerate(itertools.product(range(grid), repeat=3)):
        cube = patches[row].reshape(patch, patch, patch, 3).permute(3, 0, 1, 2)
        voxels[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch, k * patch : (k + 1) * patch] = cube
    return devoxelize(voxels, grid_place(points, resolution))


def _depth(state: State, prefix: str) -> int:
    return len({name.split(".")[prefix.count(".") + 1] for name in state if name.startswith(f"{prefix}.")})


def dit3d(points: Tensor, time: int, label: int, state: State, resolution: int, heads: int) -> Tensor:
    """Prediction for one noisy cloud [P, 3]."""
    condition = condition_of(time, label, state)
    x = patch_tokens(voxelize(points, resolution)[0], state) + state["pos_embed"][0]
    for index in range(_depth(state, "blocks")):
        x = block(x, condition, state, f"blocks.{index}", heads)
    return finish(x, condition, points, state, resolution)


def fastdit3d(
    points: Tensor,
    time: int,
    label: int,
    state: State,
    resolution: int,
    heads: int,
    visible: list[int],
    window: int,
    window_blocks: tuple[int, ...],
    decoder_heads: int,
) -> Tensor:
    """Prediction for one noisy cloud of which only the tokens ``visible`` enter the encoder."""
    condition = condition_of(time, label, state)
    tokens = patch_tokens(voxelize(points, resolution)[0], state) + state["pos_embed"][0]
    x = tokens[visible]
    for index in range(_depth(state, "blocks")):
        x = block(x, condition, state, f"blocks.{index}", heads)
    width = state["decoder.mask_token"].shape[0]
    known = layer(x, state, "decoder.embed") if "decoder.embed.weight" in state else x
    full = state["decoder.mask_token"].expand(len(tokens), -1).clone()
    for row, place in enumerate(visible):
        full[place] = known[row]
    grid = round(len(tokens) ** (1 / 3))
    full = full + positions(grid, width).to(full.dtype)
    for index in range(_depth(state, "decoder.blocks")):
        groups = windows(grid, window) if index in window_blocks else None
        full = block(full, condition, state, f"decoder.blocks.{index}", decoder_heads, groups)
    return finish(full, condition, points, state, resolution)
