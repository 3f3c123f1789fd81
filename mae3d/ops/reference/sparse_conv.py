"""Pure-torch sparse convolution: sorted cell numbers, one matrix product per kernel offset."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError


def _offsets(kernel_size: list[int], device: torch.device) -> Tensor:
    """Kernel cells [K, D], last axis fastest."""
    cells = list(itertools.product(*(range(size) for size in kernel_size)))
    return torch.tensor(cells, dtype=torch.int64, device=device)


def _inside(coordinates: Tensor, shape: list[int], batch_size: int) -> Tensor:
    limits = torch.tensor([batch_size, *shape], device=coordinates.device)
    return ((coordinates >= 0) & (coordinates < limits)).all(dim=-1)


def _number(coordinates: Tensor, shape: list[int]) -> Tensor:
    """Cells [..., 1 + D] -> one number each, ascending in (batch, z, y, x)."""
    number = coordinates[..., 0]
    for axis, size in enumerate(shape):
        number = number * size + coordinates[..., 1 + axis]
    return number


def _usable_rows(coordinates: Tensor, shape: list[int], batch_size: int, validate: bool) -> Tensor:
    """Rows inside the grid, of equal cells the first; both faults are errors where ``validate``."""
    inside = _inside(coordinates, shape, batch_size)
    number = torch.where(inside, _number(coordinates, shape), -1)
    order = number.argsort(stable=True)
    repeated = torch.zeros_like(inside)
    repeated[order[1:]] = (number[order[1:]] == number[order[:-1]]) & inside[order[1:]]
    if validate and not inside.all():
        raise OperatorInputError(
            f"sparse_conv: 'coordinates' row {int((~inside).nonzero()[0])} lies outside a batch of {batch_size} "
            f"grids of shape {list(shape)}; drop such rows first"
        )
    if validate and repeated.any():
        raise OperatorInputError(
            f"sparse_conv: 'coordinates' row {int(repeated.nonzero()[0])} repeats a cell of an earlier row; "
            "merge the features of equal cells first (voxelise with a mean or a max)"
        )
    return (inside & ~repeated).nonzero().squeeze(1)


def invert_table(table: Tensor, rows: int) -> Tensor:
    """[K, A] with values in [-1, rows) -> [K, rows] with inverse[k, table[k, a]] = a."""
    at = torch.where(table < 0, rows, table).long()
    values = torch.arange(table.shape[1], dtype=torch.int32, device=table.device).expand_as(table)
    inverse = table.new_full((table.shape[0], rows + 1), -1)
    return inverse.scatter_(1, at, values)[:, :rows].contiguous()


def sparse_conv_submanifold(
    coordinates: Tensor,
    spatial_shape: list[int],
    batch_size: int,
    kernel_size: list[int],
    dilation: list[int],
    validate: bool,
) -> Tensor:
    """Table [K, V] of a convolution whose output cells are its input cells."""
    cells = coordinates.long()
    rows = _usable_rows(cells, spatial_shape, batch_size, validate)
    step = torch.tensor(dilation, device=cells.device)
    centre = torch.tensor(kernel_size, device=cells.device) // 2
    known, order = _number(cells[rows], spatial_shape).sort()
    table = coordinates.new_full((_offsets(kernel_size, cells.device).shape[0], cells.shape[0]), -1)
    if known.numel() == 0:
        return table
    for k, offset in enumerate(_offsets(kernel_size, cells.device)):
        wanted = cells[rows].clone()
        wanted[:, 1:] += (offset - centre) * step
        number = torch.where(_inside(wanted, spatial_shape, batch_size), _number(wanted, spatial_shape), -1)
        at = torch.searchsorted(known, number).clamp_(max=known.numel() - 1)
        table[k, rows] = torch.where(known[at] == number, rows[order[at]], -1).to(table.dtype)
    return table


def sparse_conv_strided(
    coordinates: Tensor,
    spatial_shape: list[int],
    batch_size: int,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    validate: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output cells [V_out, 1 + D] in ascending order, gather [K, V_out], scatter [K, V_in]."""
    cells = coordinates.long()
    device = cells.device
    rows = _usable_rows(cells, spatial_shape, batch_size, validate)
    output = [
        (size + 2 * pad - step * (kernel - 1) - 1) // jump + 1
        for size, kernel, jump, pad, step in zip(spatial_shape, kernel_size, stride, padding, dilation)
    ]
    offsets = _offsets(kernel_size, device)  # [K, D]
    shifted = cells[rows, 1:] + torch.tensor(padding, device=device)
    shifted = shifted - offsets[:, None] * torch.tensor(dilation, device=device)  # [K, R, D]
    jump = torch.tensor(stride, device=device)
    target = torch.div(shifted, jump, rounding_mode="floor")
    hit = ((shifted % jump == 0) & (shifted >= 0) & (target < torch.tensor(output, device=device))).all(-1)  # [K, R]
    batch = cells[rows, :1].expand(len(offsets), -1, 1)
    number = _number(torch.cat((batch, target), dim=-1), output)  # [K, R]
    reached = number[hit].unique()
    scatter = coordinates.new_full((len(offsets), cells.shape[0]), -1)
    scatter[:, rows] = torch.where(hit, torch.searchsorted(reached, number), -1).to(scatter.dtype)
    axes, rest = [], reached
    for size in reversed(output):
        axes.append(rest % size)
        rest = torch.div(rest, size, rounding_mode="floor")
    out_cells = torch.stack((rest, *reversed(axes)), dim=-1).to(coordinates.dtype)
    return out_cells, invert_table(scatter, len(reached)), scatter


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def sparse_conv(
    features: Tensor, weight: Tensor, bias: Tensor | None, gather: Tensor, scatter: Tensor | None, transposed: bool
) -> Tensor:
    """Sum over offsets of the gathered rows times that offset's matrix, [V_out, C_out]."""
    dtype = _accumulator(features.dtype)
    matrices = weight.to(dtype).permute(1, 0, 2) if transposed else weight.to(dtype).permute(1, 2, 0)  # [K, in, out]
    result = features.new_zeros((gather.shape[1], matrices.shape[2]), dtype=dtype)
    for table, matrix in zip(gather, matrices):
        rows = (table >= 0).nonzero().squeeze(1)
        result.index_add_(0, rows, features[table[rows].long()].to(dtype) @ matrix)
    if bias is not None:
        result += bias.to(dtype)
    return result.to(features.dtype)


def sparse_conv_weight_grad(
    features: Tensor, grad: Tensor, gather: Tensor, scatter: Tensor | None, transposed: bool
) -> Tensor:
    """Gradient of the weight, [C_out, K, C_in] or, transposed, [C_in, K, C_out]."""
    dtype = _accumulator(features.dtype)
    result = features.new_zeros((gather.shape[0], features.shape[1], grad.shape[1]), dtype=dtype)
    for k, table in enumerate(gather):
        rows = (table >= 0).nonzero().squeeze(1)
        result[k] = features[table[rows].long()].to(dtype).T @ grad[rows].to(dtype)
    return (
        result.permute(1, 0, 2).contiguous().to(features.dtype)
        if transposed
        else result.permute(2, 0, 1).contiguous().to(features.dtype)
    )
