"""The dense occupancy decoder evaluated without its dense grid.

Far from every latent the input of the decoder is zero, and its transposed convolutions have no bias. There the output
of each stage depends only on the place of a cell within its latent cell and on whether that latent cell is the last of
its row: the *background*. It is computed on a grid of two by two latent cells, whatever the size of the scene. Cells
that a latent reaches carry their difference to the background. Both together are the dense decoder, not an
approximation of it: the batch statistics count every cell of the grid, and the loss is the mean over every cell.

What differs from the dense evaluation: rounding, the order of sums, and that statistics are not synchronised between
processes (``sync_bn`` has no effect here).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.models.decoders.dense_occupancy import OccupancyDecoder, output_size
from mae3d.ops.sparse_conv import build_rulebook, sparse_conv
from mae3d.structures import SparseTensor

ABSENT = 3
"""Number of the kernel cell that stands for none."""


@dataclass(frozen=True)
class Background:
    """Features of the cells that no latent reaches.

    Attributes:
        values: [C, Z, 2 f, 2 f]: the last two latent cells of each axis, f cells each.
        shape: (Z, Y, X) of the whole grid; Y and X are multiples of f.
    """

    values: Tensor
    shape: tuple[int, int, int]

    @property
    def side(self) -> int:
        """Cells f along a latent cell."""
        return self.values.shape[-1] // 2

    def place(self, cells: Tensor) -> Tensor:
        """Cell of the small grid, int64 [N], that stands for each of ``cells`` [N, 4] (cloud, z, y, x)."""
        y, x = (_fold(cells[:, axis].long(), self.shape[axis - 1], self.side) for axis in (2, 3))
        return (cells[:, 1].long() * 2 * self.side + y) * 2 * self.side + x

    def at(self, cells: Tensor) -> Tensor:
        """Features [N, C] of cells [N, 4]."""
        return F.embedding(self.place(cells), self.values.flatten(1).t())

    def in_blocks(self, stride: tuple[int, int, int]) -> Tensor:
        """Features of blocks of ``stride`` cells: [places of coarse cells, R, C]; 0 above the grid."""
        channels, height, side, _ = self.values.shape
        padded = F.pad(self.values, (0, 0, 0, 0, 0, -height % stride[0]))
        sizes = (channels, -1, stride[0], side // stride[1], stride[1], side // stride[2], stride[2])
        return padded.reshape(sizes).permute(1, 3, 5, 2, 4, 6, 0).flatten(3, 5).flatten(0, 2)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the whole grid of ``values`` [C, Z, 2 f, 2 f] -> [C]."""
        rows, columns = (_shares(size, self.side, values) for size in self.shape[1:])
        return torch.einsum("czyx,y,x->c", values, rows, columns) / self.shape[0]

    def spread(self, convolution: nn.ConvTranspose3d) -> Background:
        """Background behind a transposed convolution."""
        shape = tuple(output_size(n, s) for n, s in zip(self.shape, convolution.stride))
        return Background(convolution(self.values[None])[0], shape)


def _fold(index: Tensor, size: int, side: int) -> Tensor:
    """Place on the small grid of a cell along one axis: the last latent cell, or any before it."""
    return torch.where(index < size - side, index % side, index - (size - 2 * side))


def _shares(size: int, side: int, like: Tensor) -> Tensor:
    """Share of the axis that each of the 2 f cells of the small grid stands for."""
    before = torch.full((side,), (size // side - 1) / size)
    return torch.cat((before, torch.full((side,), 1 / size))).to(like)


@dataclass(frozen=True)
class Blocks:
    """Result of one stage around its input cells: each coarse cell becomes a block of R = sz * sy * sx cells.

    Attributes:
        coordinates: int32 [D, 4], coarse cells, ascending by (cloud, z, y, x).
        difference: [D, R, C], to the background; 0 where no input reaches, and above the grid.
        gather: int32 [8, D], the input row in each of the eight coarse cells that a block depends on, or -1.
        stride: (z, y, x).
        coarse_shape: (Z, Y, X) of the coarse grid.
    """

    coordinates: Tensor
    difference: Tensor
    gather: Tensor
    stride: tuple[int, int, int]
    coarse_shape: tuple[int, int, int]

    def reached(self) -> tuple[Tensor, Tensor]:
        """Cells int64 [N, 4] of the grid that an input reaches, and their differences [N, C]."""
        links = _connections(self.stride, self.difference.device)
        hit = ((self.gather >= 0).t().float() @ links) > 0  # [D, R]
        places = _places(self.stride, self.difference.device)
        layer = self.coordinates[:, 1, None] * self.stride[0] + places[:, 0]
        hit &= layer < output_size(self.coarse_shape[0], self.stride[0])
        rows = hit.flatten().nonzero().squeeze(1)
        block = rows // len(places)
        coarse = self.coordinates.long().index_select(0, block)
        fine = coarse[:, 1:] * coarse.new_tensor(self.stride) + places.index_select(0, rows - block * len(places))
        cells = torch.cat((coarse[:, :1], fine), dim=1)
        return cells, self.difference.flatten(0, 1).index_select(0, rows)

    def at(self, cells: Tensor) -> Tensor:
        """Differences [N, C] at any cells [N, 4] of the fine grid; 0 where no latent reaches."""
        if len(self.coordinates) == 0:
            return self.difference.new_zeros(len(cells), self.difference.shape[2])
        stride = cells.new_tensor(self.stride)
        coarse = torch.cat((cells[:, :1], cells[:, 1:].div(stride, rounding_mode="floor")), dim=1)
        weights = cells.new_tensor([self.stride[1] * self.stride[2], self.stride[2], 1])
        place = (cells[:, 1:] % stride * weights).sum(1)  # CUDA has no product of int64 matrices
        keys, wanted = (_keys(rows.long(), self.coarse_shape) for rows in (self.coordinates, coarse))
        row = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return torch.where((keys[row] == wanted)[:, None], self.difference[row, place], 0.0)


def _keys(cells: Tensor, shape: tuple[int, int, int]) -> Tensor:
    return ((cells[:, 0] * shape[0] + cells[:, 1]) * shape[1] + cells[:, 2]) * shape[2] + cells[:, 3]


def _places(stride: tuple[int, int, int], device: torch.device) -> Tensor:
    """(z, y, x) within a block, int64 [R, 3]."""
    return torch.tensor(list(itertools.product(*(range(step) for step in stride))), device=device)


def _taps(stride: int, device: torch.device) -> Tensor:
    """Kernel cell by which coarse cell c + d gives to cell ``stride * c + r``: int64 [2, stride] over (d, r)."""
    taps = torch.full((2, stride), ABSENT)
    taps[0, 0], taps[0, 1], taps[1, stride - 1] = 1, 2, 0
    return taps.to(device)


def block_weight(convolution: nn.ConvTranspose3d) -> Tensor:
    """Weight [R * C_out, 2, 2, 2, C_in] of the convolution from coarse cells c, c + 1 to the block of c."""
    tz, ty, tx = (_taps(step, convolution.weight.device) for step in convolution.stride)
    padded = F.pad(convolution.weight, (0, 1, 0, 1, 0, 1))  # kernel cell 3 is zero
    taken = padded[:, :, tz[:, :, None, None, None, None], ty[:, :, None, None], tx]
    # [C_in, C_out, dz, rz, dy, ry, dx, rx]
    return taken.permute(3, 5, 7, 1, 2, 4, 6, 0).flatten(0, 3)


def _connections(stride: tuple[int, int, int], device: torch.device) -> Tensor:
    """1.0 where neighbour d of a block gives to its cell r: [8, R]."""
    z, y, x = ((_taps(step, device) != ABSENT).float() for step in stride)
    return torch.einsum("ar,bs,ct->abcrst", z, y, x).flatten(0, 2).flatten(1)


def spread(
    convolution: nn.ConvTranspose3d, cells: Tensor, values: Tensor, shape: tuple[int, int, int], batch_size: int
) -> Blocks:
    """Transposed convolution of ``values`` [N, C] at ``cells`` [N, 4] of a grid that is zero elsewhere."""
    stride = tuple(convolution.stride)
    book = build_rulebook(cells, [size + 1 for size in shape], batch_size, kernel_size=2, validate=False)
    rows = sparse_conv(values, block_weight(convolution), book)
    difference = rows.unflatten(1, (-1, convolution.out_channels))
    return Blocks(book.output_coordinates, difference, book.gather, stride, shape)


@dataclass(frozen=True)
class OccupancyField:
    """Occupancy logits of every cell of a batch, stored near occupied cells only.

    Attributes:
        blocks: Cells that differ from the background, C = 1.
        background: Logits of all others.
        batch_size: B.
    """

    blocks: Blocks
    background: Background
    batch_size: int

    def at(self, cells: Tensor) -> Tensor:
        """Logits [N] of cells int64 [N, 4] (cloud, z, y, x)."""
        return (self.background.at(cells) + self.blocks.at(cells)).squeeze(1)

    def reached(self) -> tuple[Tensor, Tensor]:
        """Cells int64 [N, 4] that a latent reaches, and their logits [N]."""
        cells, difference = self.blocks.reached()
        return cells, (self.background.at(cells) + difference).squeeze(1)

    def loss(self, occupied: Tensor) -> Tensor:
        """Mean over every cell of the grid of the binary cross-entropy with ``occupied`` cells int64 [V, 4].

        With softplus(l) - t l as the term of a cell: the background's mean, what blocks have instead of it, and the
        logits of the occupied cells. Cells of a block above the grid are 0 in both and cancel.
        """
        blocks, shape = self.blocks, self.background.shape
        count = self.batch_size * shape[0] * shape[1] * shape[2]
        table = self.background.in_blocks(blocks.stride).squeeze(2)  # [P, R]
        coarse = Background(self.background.values[:, :, :: blocks.stride[1], :: blocks.stride[2]], blocks.coarse_shape)
        place = coarse.place(blocks.coordinates)
        logits = F.embedding(place, table) + blocks.difference.squeeze(2)
        instead_of = torch.bincount(place, minlength=len(table)).double()
        # Two large sums, their difference small: in float64.
        near = F.softplus(logits).sum(dtype=torch.float64) - (instead_of @ F.softplus(table).double()).sum()
        far = self.background.mean(F.softplus(self.background.values)).squeeze(0)
        return far + ((near - self.at(occupied).sum()) / count).float()


def decode_sparse(decoder: OccupancyDecoder, latents: SparseTensor) -> OccupancyField:
    """Evaluate ``decoder`` on ``latents`` in float32; in training mode the running statistics move as in the dense one.

    Args:
        decoder: Holds the weights.
        latents: On a grid (z, y, x); distinct cells.
    """
    shape, batch_size = latents.spatial_shape, latents.batch_size
    with torch.autocast(latents.device.type, enabled=False):
        cells, values = latents.coordinates, latents.features.float()
        background = Background(values.new_zeros(values.shape[1], shape[0], 2, 2), shape)
        for stage in decoder.stages:
            blocks = spread(stage[0], cells, values, background.shape, batch_size)
            background = background.spread(stage[0])
            if len(stage) == 1:
                break
            cells, difference = blocks.reached()
            base = background.at(cells)
            values, background = _normalise(stage[1], base + difference, base, background, batch_size)
            values = values - background.at(cells)
            cells = cells.int()
        return OccupancyField(blocks, background, batch_size)


def _normalise(
    norm: nn.BatchNorm3d, values: Tensor, base: Tensor, background: Background, batch_size: int
) -> tuple[Tensor, Background]:
    """BatchNorm and ReLU of a grid given by its background and by ``values`` [N, C] instead of ``base`` at N cells."""
    if norm.training:
        z, y, x = background.shape
        count = batch_size * z * y * x
        mean = background.mean(background.values) + (values - base).sum(dim=0) / count
        # The far mean holds the background at the N cells too, so the difference of sums cannot cancel badly.
        far = background.mean((background.values - mean[:, None, None, None]).square())
        near = ((values - mean).square().sum(dim=0) - (base - mean).square().sum(dim=0)) / count
        variance = (far + near).clamp(min=0)
        _move_statistics(norm, mean.detach(), variance.detach() * (count / max(count - 1, 1)))
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight * (variance + norm.eps).rsqrt()
    shift = norm.bias - mean * scale
    far = F.relu(torch.addcmul(shift[:, None, None, None], background.values, scale[:, None, None, None]))
    return F.relu(torch.addcmul(shift, values, scale)), Background(far, background.shape)


@torch.no_grad()
def _move_statistics(norm: nn.BatchNorm3d, mean: Tensor, variance: Tensor) -> None:
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance, norm.momentum)
