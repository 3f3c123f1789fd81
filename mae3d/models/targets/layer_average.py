"""The mean of several layers' features as the thing to predict (data2vec, arXiv 2202.03555)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError, DataError
from mae3d.registry import MODELS

FeatureNorm = Literal["none", "instance", "layer"]


def normalize_features(features: Tensor, kind: FeatureNorm) -> Tensor:
    """Features [B, N, C] with mean 0 and variance 1 (epsilon 1e-5, biased), in float32 or wider.

    Args:
        features: Of all tokens.
        kind: "instance": over the tokens of a sample, for each channel; "layer": over the channels of a token; "none".

    Raises:
        DataError: "instance" of samples of a single token, which have no variance.
    """
    if kind == "instance" and features.shape[1] < 2:
        raise DataError(
            f"instance norm needs at least two tokens a sample, got features {list(features.shape)}; use longer "
            "samples or smaller patches"
        )
    features = features if features.dtype == torch.float64 else features.float()
    if kind == "instance":
        return F.instance_norm(features.transpose(1, 2)).transpose(1, 2)
    return F.layer_norm(features, features.shape[-1:]) if kind == "layer" else features


@MODELS.register_module()
class LayerAverage(nn.Module):
    """Mean over the last layers of a teacher, each layer normalised, and the mean normalised again.

    Args:
        dim: Width C.
        layers: Number of last layers.
        layer_norm: Of each layer, see :func:`normalize_features`.
        average_norm: Of the mean.
    """

    def __init__(
        self, dim: int, layers: int, layer_norm: FeatureNorm = "instance", average_norm: FeatureNorm = "none"
    ) -> None:
        super().__init__()
        for name, kind in (("layer_norm", layer_norm), ("average_norm", average_norm)):
            if kind not in ("none", "instance", "layer"):
                raise ConfigError(f'LayerAverage: {name} must be "none", "instance" or "layer", got {kind!r}')
        if layers < 1:
            raise ConfigError(f"LayerAverage: layers must be at least 1, got {layers}")
        self.dim = dim
        self.layers = layers
        self.layer_norm, self.average_norm = layer_norm, average_norm

    def shape(self, prediction: Tensor) -> Tensor:
        """Output of the prediction head as it is, [B, M, C]."""
        return prediction

    @torch.no_grad()
    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features of the last layers, each [B, N, C] -> [B, N, C], float32."""
        with torch.autocast(features[0].device.type, enabled=False):
            total = sum(normalize_features(layer, self.layer_norm) for layer in features)
            return normalize_features(total / len(features), self.average_norm)
