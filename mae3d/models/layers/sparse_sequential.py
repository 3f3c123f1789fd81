"""Sequences that mix sparse layers with layers of rows."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.models.layers.sparse_conv import SparseConvolution
from mae3d.registry import MODELS
from mae3d.structures.sparse_tensor import SparseTensor


@MODELS.register_module()
class SparseBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over occupied cells, [V, C] or a :class:`SparseTensor`.

    A training batch of fewer than two cells has no variance: it is normalised by the running statistics, which it
    leaves as they are. (torch raises at one row and turns the statistics into NaN at none.)
    """

    def forward(self, x: Tensor | SparseTensor) -> Tensor | SparseTensor:
        """Normalise each channel."""
        if isinstance(x, SparseTensor):
            return x.replace_features(self(x.features))
        if self.training and self.track_running_stats and x.shape[0] < 2:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


def apply(layer: nn.Module, x: SparseTensor | Tensor) -> SparseTensor | Tensor:
    """Sparse layers and sequences take the sparse tensor, all others its features."""
    takes_sparse = isinstance(layer, (SparseConvolution, SparseSequential, SparseBatchNorm))
    takes_sparse = takes_sparse or getattr(layer, "takes_sparse_tensor", False)
    if takes_sparse or not isinstance(x, SparseTensor):
        return layer(x)
    return x.replace_features(layer(x.features))


@MODELS.register_module()
class SparseSequential(nn.Sequential):
    """``nn.Sequential`` for sparse tensors: norms, activations and linear layers act on the features.

    Names of parameters are those of ``nn.Sequential`` and of spconv's class. A module of one's own that wants the
    whole :class:`SparseTensor` says so by the class attribute ``takes_sparse_tensor = True``.
    """

    def forward(self, x: SparseTensor | Tensor) -> SparseTensor | Tensor:
        """Apply the layers in order."""
        for layer in self:
            x = apply(layer, x)
        return x
