"""R-MAE restated densely: loops and dictionaries for voxels and sectors, dense convolutions with masks of active cells.

Weights have their official names (OpenPCDet, spconv 2). Everything runs in the dtype of the weights.
"""

import math

import torch
from torch.nn import functional as F

WIDTHS = {"plain": (16, 16, 32, 64, 64), "residual": (16, 16, 32, 64, 128)}


def official_state(kind="plain", in_channels=4, decoder=(8, 24), seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = {"global_step": torch.zeros(1, dtype=torch.int64)}

    def conv(name, *shape):
        fan_in = math.prod(shape[1:])
        state[f"backbone_3d.{name}.weight"] = torch.randn(shape, generator=generator) / fan_in**0.5

    def norm(name, channels):
        state[f"backbone_3d.{name}.weight"] = 0.5 + torch.rand(channels, generator=generator)
        state[f"backbone_3d.{name}.bias"] = 0.3 * torch.randn(channels, generator=generator)
        state[f"backbone_3d.{name}.running_mean"] = 0.1 * torch.randn(channels, generator=generator)
        state[f"backbone_3d.{name}.running_var"] = 0.5 + torch.rand(channels, generator=generator)
        state[f"backbone_3d.{name}.num_batches_tracked"] = torch.tensor(3)

    def block(name, inputs, outputs, kernel=(3, 3, 3)):
        conv(f"{name}.0", outputs, *kernel, inputs)
        norm(f"{name}.1", outputs)

    widths = WIDTHS[kind]
    block("conv_input", in_channels, widths[0])
    for stage in (1, 2, 3, 4):
        width, start = widths[stage], 0
        if stage > 1:
            block(f"conv{stage}.0", widths[stage - 1], width)
            start = 1
        if kind == "residual":
            for number in (start, start + 1):
                for half in (1, 2):
                    conv(f"conv{stage}.{number}.conv{half}", width, 3, 3, 3, width)
                    norm(f"conv{stage}.{number}.bn{half}", width)
        else:
            for number in range(start, start + 2 if stage > 1 else 1):
                block(f"conv{stage}.{number}", width, width)
    block("conv_out", widths[4], 128, (3, 1, 1))
    channels = (128, *decoder, 1)
    for stage in (1, 2, 3):
        state[f"backbone_3d.deconv{stage}.0.weight"] = (
            torch.randn(channels[stage - 1], channels[stage], 3, 3, 3, generator=generator) / 10
        )
        if stage < 3:
            norm(f"deconv{stage}.1", channels[stage])
    return state


def voxelize(points, offsets, low, size, grid, max_points, max_voxels):
    """First-come voxels: cells (b, z, y, x) and the mean of their first points."""
    cells, means = [], []
    for b in range(len(offsets) - 1):
        found = {}
        for point in points[offsets[b] : offsets[b + 1]]:
            index = [math.floor(v) for v in ((point[:3] - low) / size).tolist()]
            if any(i < 0 or i >= n for i, n in zip(index, grid)):
                continue
            cell = (b, index[2], index[1], index[0])
            if cell not in found and len(found) >= max_voxels:
                continue
            rows = found.setdefault(cell, [])
            if len(rows) < max_points:
                rows.append(point)
        cells += list(found)
        means += [torch.stack(rows).mean(0) for rows in found.values()]
    return torch.tensor(cells), torch.stack(means)


def corner_sectors(cells, degrees=1):
    """Published grouping: degrees from the y axis about the corner, in voxel indices."""
    return [int((math.degrees(math.atan2(int(c[3]), int(c[2]))) % 360) // degrees) for c in cells]


def sensor_sectors(cells, low, size, degrees):
    x = low[0] + (cells[:, 3].double() + 0.5) * size[0]
    y = low[1] + (cells[:, 2].double() + 0.5) * size[1]
    return [int((math.degrees(math.atan2(b, a)) % 360) // degrees) for a, b in zip(x.tolist(), y.tolist())]


class Network:
    """The published network on dense grids."""

    def __init__(self, state, training):
        self.state = {k.removeprefix("backbone_3d."): v.double() for k, v in state.items()}
        self.training = training

    def norm(self, x, mask, name, eps):
        """Over the cells of ``mask`` [B, 1, Z, Y, X] alone; other cells are zero."""
        rows = x.movedim(1, -1)[mask[:, 0] > 0]
        if self.training:
            mean, var = rows.mean(0), rows.var(0, unbiased=False)
        else:
            mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        shape = (1, -1, 1, 1, 1)
        y = (x - mean.view(shape)) / (var.view(shape) + eps).sqrt()
        return (y * self.state[f"{name}.weight"].view(shape) + self.state[f"{name}.bias"].view(shape)) * mask

    def weight(self, name):
        return self.state[f"{name}.weight"].movedim(-1, 1)

    def submanifold(self, x, mask, name):
        return F.conv3d(x, self.weight(name), padding=1) * mask

    def strided(self, x, mask, name, stride, padding):
        weight = self.weight(name)
        y = F.conv3d(x, weight, stride=stride, padding=padding)
        ones = torch.ones(1, 1, *weight.shape[2:], dtype=x.dtype)
        reached = (F.conv3d(mask, ones, stride=stride, padding=padding) > 0.5).to(x.dtype)
        return F.relu(self.norm(y * reached, reached, name.removesuffix(".0") + ".1", 1e-3)), reached

    def plain(self, x, mask, name):
        return F.relu(self.norm(self.submanifold(x, mask, f"{name}.0"), mask, f"{name}.1", 1e-3))

    def residual(self, x, mask, name):
        y = F.relu(self.norm(self.submanifold(x, mask, f"{name}.conv1"), mask, f"{name}.bn1", 1e-3))
        return F.relu(self.norm(self.submanifold(y, mask, f"{name}.conv2"), mask, f"{name}.bn2", 1e-3) + x)

    def encode(self, cells, features, shape, batch_size):
        x = torch.zeros(batch_size, *shape, features.shape[1], dtype=torch.float64)
        mask = torch.zeros(batch_size, 1, *shape, dtype=torch.float64)
        b, z, y, c = cells.unbind(1)
        x[b, z, y, c] = features.double()
        mask[b, 0, z, y, c] = 1
        x = self.plain(x.movedim(-1, 1), mask, "conv_input")
        residual = "conv1.0.conv1.weight" in self.state
        block = self.residual if residual else self.plain
        for stage, padding in ((1, None), (2, 1), (3, 1), (4, (0, 1, 1))):
            first = 0
            if padding is not None:
                x, mask = self.strided(x, mask, f"conv{stage}.0.0", 2, padding)
                first = 1
            for number in range(first, 1 if stage == 1 and not residual else first + 2):
                x = block(x, mask, f"conv{stage}.{number}")
        return self.strided(x, mask, "conv_out.0", (2, 1, 1), 0)

    def decode(self, x):
        for stage, stride in ((1, (2, 2, 2)), (2, (4, 2, 2)), (3, (3, 2, 2))):
            weight = self.state[f"deconv{stage}.0.weight"]
            x = F.conv_transpose3d(x, weight, stride=stride, padding=1, output_padding=1)
            if stage < 3:
                x = F.relu(self.norm(x, torch.ones_like(x[:, :1]), f"deconv{stage}.1", 1e-5))
        return x

    def loss(self, cells, features, visible, shape, batch_size):
        latents, _ = self.encode(cells[visible], features[visible], shape, batch_size)
        logits = self.decode(latents)
        target = torch.zeros_like(logits)
        for b, z, y, x in cells.tolist():
            target[b, 0, z, y, x] = 1
        return F.binary_cross_entropy_with_logits(logits, target), logits
