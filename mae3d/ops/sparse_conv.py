"""Sparse convolution over occupied cells: rule books, submanifold, strided and inverse convolution.

Graham et al., "3D Semantic Segmentation with Submanifold Sparse Convolutional Networks" (2018), section 3.
A convolution equals the dense cross-correlation of ``torch.nn.functional.conv3d`` (or 1d, 2d) on a grid whose
empty cells are zero, read at the output cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops._checks import check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import sparse_conv as reference

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Rulebook(NamedTuple):
    """Which rows of two sets of cells meet at which kernel offset; serves a convolution and its inverse.

    K is the product of ``kernel_size``; offsets count with the last axis fastest. D is 1, 2 or 3.
    """

    input_coordinates: Tensor
    """[V_in, 1 + D] int32: batch, then the cell along each axis (z, y, x)."""
    output_coordinates: Tensor
    """[V_out, 1 + D] int32. Submanifold: the input's rows. Strided: ascending in (batch, z, y, x)."""
    gather: Tensor
    """[K, V_out] int32: input row that output row o reads at offset k, -1 where that cell is empty."""
    scatter: Tensor | None
    """[K, V_in] int32, the inverse of ``gather``; None: gather[k, o] = i exactly where gather[K-1-k, i] = o."""
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    batch_size: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    submanifold: bool

    def inverse(self) -> Rulebook:
        """The rule book from outputs back to inputs, with the same kernel offsets (a transposed convolution)."""
        gather, scatter = self.scatter, self.gather
        if gather is None:
            gather, scatter = self.gather.flip(0), None
        return self._replace(
            input_coordinates=self.output_coordinates,
            output_coordinates=self.input_coordinates,
            input_shape=self.output_shape,
            output_shape=self.input_shape,
            gather=gather,
            scatter=scatter,
        )


def _fake_submanifold(coordinates: Tensor, shape: Any, batch: int, kernel: list[int], *_: Any) -> Tensor:
    return coordinates.new_empty((_volume(kernel), coordinates.shape[0]), dtype=torch.int32)


def _fake_strided(
    coordinates: Tensor, shape: Any, batch: int, kernel: list[int], *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    outputs = torch.library.get_ctx().new_dynamic_size()
    return (
        coordinates.new_empty((outputs, coordinates.shape[1])),
        coordinates.new_empty((_volume(kernel), outputs)),
        coordinates.new_empty((_volume(kernel), coordinates.shape[0])),
    )


def _fake_conv(
    features: Tensor, weight: Tensor, bias: Tensor | None, gather: Tensor, scatter: Tensor | None, transposed: bool
) -> Tensor:
    return features.new_empty((gather.shape[1], weight.shape[2 if transposed else 0]))


def _fake_weight_grad(
    features: Tensor, grad: Tensor, gather: Tensor, scatter: Tensor | None, transposed: bool
) -> Tensor:
    first, last = (features, grad) if transposed else (grad, features)
    return features.new_empty((first.shape[1], gather.shape[0], last.shape[1]))


def _save_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, weight, _, gather, scatter, ctx.transposed = inputs
    ctx.save_for_backward(features, weight, gather, scatter)


def _conv_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, gather, scatter = ctx.saved_tensors
    of_features = of_weight = of_bias = None
    if ctx.needs_input_grad[0]:
        of_features = _conv_to_inputs(grad, weight, gather, scatter, ctx.transposed)
    if ctx.needs_input_grad[1]:
        of_weight = _weight_grad(features, grad, gather, scatter, ctx.transposed)
    if ctx.needs_input_grad[2]:
        of_bias = grad.sum(dim=0)
    return of_features, of_weight, of_bias, None, None, None


def _conv_to_inputs(grad: Tensor, weight: Tensor, gather: Tensor, scatter: Tensor | None, transposed: bool) -> Tensor:
    """The adjoint: results [V_out, C_out] -> features [V_in, C_in]; linear in both, so it has gradients itself."""
    if scatter is None:  # offset k seen from the other row is offset K - 1 - k: turn the weight, not the table
        return _conv(grad, weight.flip(1), None, gather, None, not transposed)
    return _conv(grad, weight, None, scatter, gather, not transposed)


def _save_weight_grad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, grad, gather, scatter, ctx.transposed = inputs
    ctx.save_for_backward(features, grad, gather, scatter)


def _weight_grad_backward(ctx: Any, grad_weight: Tensor) -> tuple[Tensor | None, ...]:
    features, grad, gather, scatter = ctx.saved_tensors
    of_features = of_grad = None
    if ctx.needs_input_grad[0]:
        of_features = _conv_to_inputs(grad, grad_weight, gather, scatter, ctx.transposed)
    if ctx.needs_input_grad[1]:
        of_grad = _conv(features, grad_weight, None, gather, scatter, ctx.transposed)
    return of_features, of_grad, None, None, None


_submanifold_table = define(
    "sparse_conv_submanifold(Tensor coordinates, int[] spatial_shape, int batch_size, int[] kernel_size, "
    "int[] dilation, bool validate) -> Tensor",
    reference=reference.sparse_conv_submanifold,
    fake=_fake_submanifold,
)
_strided_tables = define(
    "sparse_conv_strided(Tensor coordinates, int[] spatial_shape, int batch_size, int[] kernel_size, int[] stride, "
    "int[] padding, int[] dilation, bool validate) -> (Tensor, Tensor, Tensor)",
    reference=reference.sparse_conv_strided,
    fake=_fake_strided,
)
_conv = define(
    "sparse_conv(Tensor features, Tensor weight, Tensor? bias, Tensor gather, Tensor? scatter, bool transposed) "
    "-> Tensor",
    reference=reference.sparse_conv,
    fake=_fake_conv,
    setup_context=_save_conv,
    backward=_conv_backward,
)
_weight_grad = define(
    "sparse_conv_weight_grad(Tensor features, Tensor grad, Tensor gather, Tensor? scatter, bool transposed) -> Tensor",
    reference=reference.sparse_conv_weight_grad,
    fake=_fake_weight_grad,
    setup_context=_save_weight_grad,
    backward=_weight_grad_backward,
)


def _volume(kernel_size: Sequence[int]) -> int:
    volume = 1
    for size in kernel_size:
        volume *= size
    return volume


def per_axis(name: str, value: int | Sequence[int], axes: int, *, low: int) -> tuple[int, ...]:
    """An int for all axes, or one per axis, as a tuple of ``axes`` ints, each at least ``low``."""
    values = (value,) * axes if isinstance(value, int) else tuple(int(v) for v in value)
    require(len(values) == axes, f"sparse_conv: '{name}' must be an int or {axes} ints, one per axis, got {value}")
    for single in values:
        check_range("sparse_conv", name, single, low)
    return values


def _input_error(error: RuntimeError) -> RuntimeError | OperatorInputError:
    """What a kernel says about its arguments, as an error of ours; anything else (no memory) as it is."""
    message = str(error).split("\n", 1)[0]
    start = message.find("sparse_conv_")
    return error if start < 0 else OperatorInputError(message[start:])


def build_rulebook(
    coordinates: Tensor,
    spatial_shape: Sequence[int],
    batch_size: int,
    *,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    submanifold: bool = False,
    validate: bool = True,
) -> Rulebook:
    """Find which cells meet at which kernel offset.

    Args:
        coordinates: Occupied cells [V, 1 + D], int32 or int64: batch, then the cell along each axis (z, y, x).
        spatial_shape: Cells along each axis (D values).
        batch_size: Number of samples; batch indices are below it.
        kernel_size: Kernel cells along each axis; even and unequal sizes are fine.
        stride: Step between output cells; 1 for ``submanifold``.
        padding: Empty cells around the grid; ignored for ``submanifold``, which centres the kernel
            (padding ``kernel_size // 2 * dilation``).
        dilation: Step between kernel cells.
        submanifold: Outputs are the input cells. Otherwise: every cell that at least one input reaches, in
            ascending order of (batch, z, y, x), whatever the order of the input.
        validate: Check that all rows are inside the grid and no cell occurs twice. On CUDA this reads one value
            back. Without it, rows outside count as absent, and of equal cells the lowest row counts.

    Returns:
        A :class:`Rulebook`, for :func:`sparse_conv` and, through ``.inverse()``, the inverse convolution.

    Raises:
        OperatorInputError: Wrong shapes or dtypes; rows outside the grid or repeated cells (the message names
            the row); a kernel larger than the padded grid; a grid of 2^62 cells and more.
    """
    op = "build_rulebook"
    check_tensor(op, "coordinates", coordinates, (None, None), (torch.int32, torch.int64))
    axes = coordinates.shape[1] - 1
    require(1 <= axes <= 3, f"{op}: 'coordinates' must have 2, 3 or 4 columns (batch, [z, [y,]] x), got {axes + 1}")
    check_range(op, "batch_size", batch_size, 0)
    shape = per_axis("spatial_shape", tuple(spatial_shape), axes, low=1)
    kernel = per_axis("kernel_size", kernel_size, axes, low=1)
    step = per_axis("dilation", dilation, axes, low=1)
    jump = per_axis("stride", stride, axes, low=1)
    cells = coordinates.to(torch.int32).contiguous()
    if submanifold:
        require(set(jump) == {1}, f"{op}: a submanifold convolution has stride 1, got {stride}")
        try:
            gather = _submanifold_table(cells, shape, batch_size, kernel, step, validate)
        except RuntimeError as error:
            raise _input_error(error) from None
        scatter = None if all(size % 2 for size in kernel) else reference.invert_table(gather, cells.shape[0])
        pad = tuple(size // 2 * gap for size, gap in zip(kernel, step))
        return Rulebook(cells, cells, gather, scatter, shape, shape, batch_size, kernel, jump, pad, step, True)
    pad = per_axis("padding", padding, axes, low=0)
    output = tuple(
        (size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in zip(shape, kernel, jump, pad, step)
    )
    require(
        all(size + 2 * p >= d * (k - 1) + 1 for size, k, p, d in zip(shape, kernel, pad, step)),
        f"{op}: the kernel {kernel} with dilation {step} is larger than the grid {shape} with padding {pad}",
    )
    try:
        reached, gather, scatter = _strided_tables(cells, shape, batch_size, kernel, jump, pad, step, validate)
    except RuntimeError as error:
        raise _input_error(error) from None
    return Rulebook(cells, reached, gather, scatter, shape, output, batch_size, kernel, jump, pad, step, False)


def sparse_conv(features: Tensor, weight: Tensor, rulebook: Rulebook, bias: Tensor | None = None) -> Tensor:
    """Convolve the features of the rule book's input cells.

    Args:
        features: [V_in, C_in] float32, float64, float16 or bfloat16; half types accumulate in float32.
        weight: [C_out, *kernel_size, C_in], the layout of spconv 2; or [C_out, K, C_in].
        rulebook: From :func:`build_rulebook`; its ``.inverse()`` gives the inverse convolution, which brings
            features back to the cells (and their order) that the strided convolution came from.
        bias: [C_out], or None.

    Returns:
        [V_out, C_out]; differentiable (twice) in features, weight and bias. The same numbers for every number of
        threads and every run.

    Under autocast, features, weight and bias are cast to the autocast dtype, as in a dense convolution.

    Raises:
        OperatorInputError: Shapes, dtypes or devices that do not fit together.
    """
    op = "sparse_conv"
    volume = _volume(rulebook.kernel_size)
    if isinstance(weight, Tensor) and weight.dim() == len(rulebook.kernel_size) + 2:
        expected = (*rulebook.kernel_size, features.shape[-1])
        require(
            weight.shape[1:] == expected,
            f"{op}: 'weight' must have shape [C_out, {', '.join(map(str, expected))}], got {list(weight.shape)}",
        )
        weight = weight.flatten(1, -2)
    device = features.device.type
    if torch.is_autocast_enabled(device) and features.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        features, weight = features.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    rows = rulebook.input_coordinates.shape[0]
    check_tensor(op, "features", features, (rows, None), _FLOATS)
    check_tensor(op, "weight", weight, (None, volume, features.shape[1]), (features.dtype,))
    if bias is not None:
        check_tensor(op, "bias", bias, (weight.shape[0],), (features.dtype,))
    check_same_device(op, features=features, weight=weight, bias=bias, rulebook=rulebook.gather)
    return _conv(features, weight, bias, rulebook.gather, rulebook.scatter, False)
