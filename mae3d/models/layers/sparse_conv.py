"""Sparse convolution layers: spconv's names, arguments and weight layout, so its checkpoints load unchanged.

Weights are [C_out, *kernel_size, C_in] (spconv 2). Files of spconv 1 hold [*kernel_size, C_in, C_out]; see
:func:`weight_from_spconv1`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.sparse_backend import check_backend, resolve_backend, run_spconv
from mae3d.ops.sparse_conv import Rulebook, build_rulebook, per_axis, sparse_conv
from mae3d.registry import MODELS
from mae3d.structures.sparse_tensor import SparseTensor


def weight_from_spconv1(weight: Tensor) -> Tensor:
    """[*kernel_size, C_in, C_out] of spconv 1 -> [C_out, *kernel_size, C_in] of spconv 2 and mae3d."""
    return weight.movedim(-1, 0).contiguous()


class SparseConvolution(nn.Module):
    """Base of the six layers below; maps a :class:`SparseTensor` to another.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: Cells along each axis (z, y, x), or one int for all.
        stride: Step between output cells; 1 in submanifold layers.
        padding: Empty cells around the grid. Submanifold layers ignore it: their kernel is centred.
        dilation: Step between kernel cells.
        bias: Whether a bias is added, at occupied cells only.
        indice_key: Layers with one key share one rule book; an inverse layer names the key of the strided layer
            that it undoes.
        backend: "native" or "spconv" for this layer alone; see :mod:`mae3d.models.layers.sparse_backend`.

    Shape: features [V, C_in] -> [V_out, C_out].

    Raises:
        ConfigError: Channels below 1, a strided submanifold layer, an inverse layer without a key, an unknown back
            end; at the call, input that does not fit the layer or its key.
        OperatorInputError: Sizes below the lowest that make sense; at the call, invalid coordinates.
    """

    axes = 3
    submanifold = False
    inverse = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        bias: bool = True,
        indice_key: str | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if min(in_channels, out_channels) < 1:
            raise ConfigError(f"{name}: channels must be positive, got {in_channels} and {out_channels}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes, low=1)
        self.stride = per_axis("stride", stride, self.axes, low=1)
        self.padding = per_axis("padding", padding, self.axes, low=0)
        self.dilation = per_axis("dilation", dilation, self.axes, low=1)
        self.indice_key = indice_key
        self.backend = None if backend is None else check_backend(backend, f"{name}: backend")
        if self.submanifold and set(self.stride) != {1}:
            raise ConfigError(f"{name}: a submanifold convolution has stride 1, got {stride}; use SparseConv")
        if self.inverse and indice_key is None:
            raise ConfigError(f"{name}: needs the indice_key of the strided convolution that it undoes")
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt(fan in), as torch's dense convolutions; drawn from the global generator."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve ``x``; the result shares its rule books."""
        self._check_input(x)
        if resolve_backend(self.backend, x) == "spconv":
            return run_spconv(self, x)
        book = self._rulebook(x)
        features = sparse_conv(x.features, self.weight, book, self.bias)
        return SparseTensor(
            features,
            book.output_coordinates,
            book.output_shape,
            x.batch_size,
            trusted=True,
            rulebooks=x.rulebooks,
            backend_state=x.backend_state,
        )

    def _check_input(self, x: SparseTensor) -> None:
        if len(x.spatial_shape) != self.axes or x.features.shape[1] != self.in_channels:
            raise ConfigError(
                f"{type(self).__name__}: expected {self.in_channels} channels on {self.axes} axes, got "
                f"{x.features.shape[1]} channels on a grid of {x.spatial_shape}"
            )

    def _rulebook(self, x: SparseTensor) -> Rulebook:
        known = None if self.indice_key is None else x.rulebooks.get(self.indice_key)
        if self.inverse:
            return self._inverse_rulebook(known, x)
        if known is not None:
            self._check_same(known, x)
            return known
        book = build_rulebook(
            x.coordinates,
            x.spatial_shape,
            x.batch_size,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            submanifold=self.submanifold,
            validate=not x.trusted,
        )
        if self.indice_key is not None:
            x.rulebooks[self.indice_key] = book
        return book

    def _check_same(self, known: Rulebook, x: SparseTensor) -> None:
        mine = (self.kernel_size, self.dilation, self.submanifold, self.stride)
        theirs = (known.kernel_size, known.dilation, known.submanifold, known.stride)
        padded_alike = self.submanifold or self.padding == known.padding
        if mine != theirs or not padded_alike or known.input_coordinates is not x.coordinates:
            raise ConfigError(
                f"{type(self).__name__}: indice_key {self.indice_key!r} already belongs to other cells or to another "
                f"kernel {known.kernel_size}, stride {known.stride}, padding {known.padding}, dilation "
                f"{known.dilation}; give this layer a key of its own"
            )

    def _inverse_rulebook(self, known: Rulebook | None, x: SparseTensor) -> Rulebook:
        name = type(self).__name__
        if known is None:
            raise ConfigError(
                f"{name}: no rule book under indice_key {self.indice_key!r}, there are {sorted(x.rulebooks)}; run the "
                "strided layer with that key first, on the same back end"
            )
        if known.kernel_size != self.kernel_size:
            raise ConfigError(f"{name}: kernel_size {self.kernel_size} differs from {known.kernel_size} of its key")
        if known.output_coordinates.shape != x.coordinates.shape or known.output_shape != x.spatial_shape:
            raise ConfigError(
                f"{name}: {len(x)} cells on {x.spatial_shape} are not the output of the layer with indice_key "
                f"{self.indice_key!r}, which gave {len(known.output_coordinates)} cells on {known.output_shape}"
            )
        return known.inverse()

    def extra_repr(self) -> str:
        """Sizes and key, for printing a model."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None}, "
            f"indice_key={self.indice_key!r}"
        )


@MODELS.register_module()
class SubMConv3d(SparseConvolution):
    """Submanifold convolution on three axes: outputs at the input's cells, in the same rows."""

    submanifold = True


@MODELS.register_module()
class SubMConv2d(SparseConvolution):
    """Submanifold convolution on two axes."""

    axes, submanifold = 2, True


@MODELS.register_module()
class SparseConv3d(SparseConvolution):
    """Strided convolution on three axes: outputs at every cell reached, ascending in (batch, z, y, x)."""


@MODELS.register_module()
class SparseConv2d(SparseConvolution):
    """Strided convolution on two axes."""

    axes = 2


class _InverseConvolution(SparseConvolution):
    inverse = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        indice_key: str | None = None,
        bias: bool = True,
        backend: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, indice_key=indice_key, backend=backend)


@MODELS.register_module()
class SparseInverseConv3d(_InverseConvolution):
    """Transposed convolution back to the cells and rows that the strided layer of ``indice_key`` came from."""


@MODELS.register_module()
class SparseInverseConv2d(_InverseConvolution):
    """Inverse convolution on two axes."""

    axes = 2
