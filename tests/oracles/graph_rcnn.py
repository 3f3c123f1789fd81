"""The second stage of Graph R-CNN restated with loops over boxes, points and neighbours, in float64.

Written from the paper, the published configuration and the names and shapes of the official files (``roi_head.*``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

State = dict[str, Tensor]


def official_state(columns: int = 5, edges=(32, 32, 64), gate=64, hidden=512, out=256, seed: int = 0) -> State:
    """Random weights with the official names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def tensor(name: str, *shape: int, low: float = -0.3, high: float = 0.3) -> None:
        state[f"roi_head.{name}"] = low + (high - low) * torch.rand(shape, generator=generator)

    def norm(name: str, size: int) -> None:
        for part, low, high in (("weight", 0.5, 1.5), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2)):
            tensor(f"{name}.{part}", size, low=low, high=high)
        tensor(f"{name}.running_var", size, low=0.5, high=1.5)
        state[f"roi_head.{name}.num_batches_tracked"] = torch.tensor(7)

    graph, width = "attn_gnn_layer", sum(edges)
    for k, (inputs, outputs) in enumerate(zip((columns + 6, *edges), edges)):
        tensor(f"{graph}.edge_layes.{k}.0.weight", outputs, 2 * inputs, 1, 1)
        norm(f"{graph}.edge_layes.{k}.1", outputs)
    for name, inputs, outputs in (
        (f"{graph}.calib", width, gate),
        (f"{graph}.expansion", width, hidden),
        (f"{graph}.reduction", hidden, out),
        ("shared_fc_layer", out, out),
    ):
        tensor(f"{name}.0.weight", outputs, inputs, 1)
        norm(f"{name}.1", outputs)
    for name, inputs, outputs in (
        (f"{graph}.calib.3", gate, width),
        (f"{graph}.shortcut.conv1", out, out),
        (f"{graph}.shortcut.conv2", out, out),
        ("cls_layers", out, 1),
        ("reg_layers", out, 7),
    ):
        tensor(f"{name}.weight", outputs, inputs, 1)
        tensor(f"{name}.bias", outputs)
    norm(f"{graph}.shortcut.norm1", out)
    norm(f"{graph}.shortcut.norm2", out)
    return state


def pooled(points: Tensor, box: Tensor, margin: float, cell: float, falloff: float, most: int, count: int) -> list[int]:
    """Rows of one cloud that stand for one box: a point a cell, the farthest of them, repeated in turn."""
    x, y, z, *size, yaw = box.double().tolist()
    size = [side + margin for side in size]
    side = max(0.02, cell * math.exp(-math.sqrt(x * x + y * y + z * z) / falloff))
    taken: dict[tuple[int, ...], int] = {}
    for row, (px, py, pz) in enumerate(points[:, :3].double().tolist()):
        local = turn((px - x, py - y, pz - z), -yaw)
        if all(abs(value) <= length / 2 for value, length in zip(local, size)):
            place = [int((value + length / 2) / side) for value, length in zip(local, size)]
            limits = [int(length / side) - 1 for length in size]
            taken.setdefault(tuple(min(max(p, 0), limit) for p, limit in zip(place, limits)), row)
    rows = sorted(taken.values())[:most]
    if not rows:
        return []
    xyz, chosen = points[rows, :3].double(), [0]
    gaps = torch.full((len(rows),), math.inf, dtype=torch.float64)
    while len(chosen) < min(count, len(rows)):
        gaps = gaps.minimum(((xyz - xyz[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(gaps.argmax()))
    return [rows[chosen[slot % len(chosen)]] for slot in range(count)]


def turn(vector, angle: float) -> tuple[float, float, float]:
    x, y, z = vector
    return math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y, z


def node_features(points: Tensor, box: Tensor, rows: list[int], count: int) -> Tensor:
    """[count, columns + 6]: place in the box's frame, further columns, corners of the box."""
    if not rows:
        return torch.zeros(count, points.shape[1] + 6, dtype=torch.float64)
    half = (box[3:6].double() / 2).tolist()
    made = []
    for row in rows:
        shift = (points[row, :3].double() - box[:3].double()).tolist()
        made.append([*turn(shift, -float(box[6])), *points[row, 3:].tolist(), *(-h for h in half), *half])
    return torch.tensor(made, dtype=torch.float64)


def norm(x: Tensor, state: State, name: str) -> Tensor:
    """BatchNorm in evaluation, channels last."""
    part = {key: state[f"roi_head.{name}.{key}"].double() for key in ("weight", "bias", "running_mean", "running_var")}
    return (x - part["running_mean"]) / (part["running_var"] + 1e-5).sqrt() * part["weight"] + part["bias"]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    bias = state.get(f"roi_head.{name}.bias", torch.zeros(1))
    return x @ state[f"roi_head.{name}.weight"].double().flatten(1).T + bias.double()


def layer(x: Tensor, state: State, name: str) -> Tensor:
    return norm(linear(x, state, f"{name}.0"), state, f"{name}.1").clamp(min=0)


def refine(nodes: Tensor, state: State, neighbours: int, edges: int = 3) -> tuple[Tensor, Tensor]:
    """Logit and code of one box from its nodes [K, C]."""
    graph, x, levels = "attn_gnn_layer", nodes, []
    gaps = ((nodes[:, None, :3] - nodes[None, :, :3]) ** 2).sum(2)
    near = [gaps[i].argsort(stable=True)[:neighbours].tolist() for i in range(len(nodes))]
    for k in range(edges):
        rows = []
        for i, own in enumerate(near):
            pairs = torch.stack([torch.cat((x[j] - x[i], x[i])) for j in own])
            rows.append(layer(pairs, state, f"{graph}.edge_layes.{k}").amax(0))
        x = torch.stack(rows)
        levels.append(x)
    x = torch.cat(levels, dim=1)
    gate = linear(layer(x, state, f"{graph}.calib"), state, f"{graph}.calib.3")
    x = layer(x * torch.sigmoid(gate), state, f"{graph}.expansion").amax(0)
    x = layer(x, state, f"{graph}.reduction")
    x = norm(2 * x, state, f"{graph}.shortcut.norm1")
    x = x + linear(linear(x, state, f"{graph}.shortcut.conv1").clamp(min=0), state, f"{graph}.shortcut.conv2")
    x = layer(norm(x, state, f"{graph}.shortcut.norm2"), state, "shared_fc_layer")
    return linear(x, state, "cls_layers")[0], linear(x, state, "reg_layers")


def corrected(code: Tensor, box: Tensor) -> list[float]:
    """Box that a code makes of a proposal."""
    tx, ty, tz, tl, tw, th, ta = code.double().tolist()
    x, y, z, length, width, height, yaw = box.double().tolist()
    diagonal = math.hypot(length, width)
    shift = turn((tx * diagonal, ty * diagonal, tz * height), yaw)
    sizes = [length * math.exp(tl), width * math.exp(tw), height * math.exp(th)]
    return [x + shift[0], y + shift[1], z + shift[2], *sizes, yaw + ta]


def code_of(target: Tensor, box: Tensor) -> list[float]:
    """Code of an object relative to a proposal."""
    x, y, z, *size, yaw = box.double().tolist()
    ox, oy, oz, *own, heading = target.double().tolist()
    shift = turn((ox - x, oy - y, oz - z), -yaw)
    diagonal, angle = math.hypot(size[0], size[1]), heading - yaw
    while angle >= math.pi / 2:
        angle -= math.pi
    while angle < -math.pi / 2:
        angle += math.pi
    ratios = [math.log(a / b) for a, b in zip(own, size)]
    return [shift[0] / diagonal, shift[1] / diagonal, shift[2] / size[2], *ratios, angle]


def corners(box: list[float]) -> list[tuple[float, ...]]:
    x, y, z, length, width, height, yaw = box
    made = []
    for a in (-1, 1):
        for b in (-1, 1):
            for c in (-1, 1):
                shift = turn((a * length / 2, b * width / 2, c * height / 2), yaw)
                made.append((x + shift[0], y + shift[1], z + shift[2]))
    return made


def huber(value: float, beta: float) -> float:
    return value * value / (2 * beta) if abs(value) < beta else abs(value) - beta / 2


def losses(logits, codes, boxes, targets, overlaps) -> dict[str, float]:
    """The three losses of drawn proposals."""
    score, box, corner, good = 0.0, 0.0, 0.0, 0
    for logit, code, proposal, target, overlap in zip(logits, codes, boxes, targets, overlaps.tolist()):
        wanted = min(max((overlap - 0.25) / 0.5, 0.0), 1.0)
        probability = 1 / (1 + math.exp(-float(logit)))
        score -= wanted * math.log(probability) + (1 - wanted) * math.log(1 - probability)
        if overlap <= 0.55:
            continue
        good += 1
        box += sum(huber(a - b, 1 / 9) for a, b in zip(code.tolist(), code_of(target, proposal)))
        own, straight = corners(corrected(code, proposal)), target.double().tolist()
        turned = [*straight[:6], straight[6] + math.pi]
        gaps = [min(math.dist(a, b), math.dist(a, c)) for a, b, c in zip(own, corners(straight), corners(turned))]
        corner += sum(huber(gap, 1.0) for gap in gaps) / 8
    count = max(1, good)
    return {"loss_roi_score": score / len(boxes), "loss_roi_box": box / count, "loss_roi_corner": corner / count}
