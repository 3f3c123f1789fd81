"""Segmentation of the parts of an object on top of a (pre-trained) patch transformer.

Source: the ShapeNetPart network of Point-MAE (arXiv 2203.06604, section 4.2).
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d import ops
from mae3d.models.building import build
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth
from mae3d.registry import MODELS


class FeaturePropagation(nn.Module):
    """Features of centres carried to all points: inverse-distance mean of the three nearest, then a shared MLP.

    The first layer's part for the centre features is applied before interpolating: both are linear, and there are
    fewer centres than points.

    Args:
        center_dim: Channels at the centres.
        point_dim: Channels that points already have; they come first in the MLP's input.
        hidden_dims: Widths of the MLP.
    """

    def __init__(self, center_dim: int, point_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        widths = [point_dim + center_dim, *hidden_dims]
        self.point_dim = point_dim
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden_dims)

    def forward(self, points: Tensor, centers: Tensor, own: Tensor, features: Tensor) -> Tensor:
        """Carry features to points.

        Args:
            points: [B, N, 3].
            centers: [B, G, 3].
            own: [B, N, point_dim], features the points have.
            features: [B, G, center_dim].

        Returns:
            [B, N, hidden_dims[-1]].
        """
        first = self.linears[0]
        for_own, for_centers = first.weight.split([self.point_dim, features.shape[-1]], dim=1)
        carried = interpolate(points, centers, F.linear(features, for_centers))
        x = carried + F.linear(own, for_own, first.bias)
        x = _norm_rows(self.norms[0], x).relu()
        for linear, norm in zip(self.linears[1:], self.norms[1:]):
            x = _norm_rows(norm, linear(x)).relu()
        return x


def interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """Mean of the features [B, G, C] of the 3 nearest centres, weighted 1 / (squared distance + 1e-8) -> [B, N, C]."""
    near = ops.knn(centers, points, k=min(3, centers.shape[1]))
    weights = 1.0 / (near.squared_distances + 1e-8)
    weights = weights / weights.sum(dim=-1, keepdim=True)  # [B, N, 3]
    picked = ops.gather_points(features, near.indices)  # [B, N, 3, C]
    return (picked * weights.unsqueeze(-1).to(picked.dtype)).sum(dim=2)


def _norm_rows(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    return norm(x.flatten(0, 1)).view_as(x)


class PartSegmenter(BaseModel):
    """What networks have in common that give log-probabilities of parts; these come from :meth:`log_probabilities`.

    Args:
        tokenizer: Clouds -> tokens, module or config.
        position_embedding: Coordinates -> channels of the encoder.
        encoder: A :class:`ViT`.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    modality = "points"

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        position_embedding: nn.Module | dict,
        encoder: nn.Module | dict,
        *,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = build(tokenizer)
        self.position_embedding = build(position_embedding)
        self.encoder = build(encoder)

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor,
        part_label: Tensor | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [B, N, 3 or more].
            mode: "tensor" gives log-probabilities [B, N, parts]; "loss" their negative log-likelihood (and the share
                of right points); "predict" one dict per sample: ``scores`` [N, parts], ``label``, ``part_label``.
            label: int64 [B], the category of each object.
            part_label: int64 [B, N].
            **annotations: Further fields of the batch, not used.
        """
        if mode not in ("tensor", "loss", "predict"):
            raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')
        scores = self.log_probabilities(points, label)
        if mode == "tensor":
            return scores
        if mode == "loss":
            right = (scores.argmax(dim=-1) == part_label).float().mean()
            return {"loss": F.nll_loss(scores.flatten(0, 1), part_label.flatten()), "accuracy": right}
        fields = {"scores": scores, "label": label}
        if part_label is not None:
            fields["part_label"] = part_label
        return [{name: values[row] for name, values in fields.items()} for row in range(len(points))]

    @abstractmethod
    def log_probabilities(self, points: Tensor, category: Tensor) -> Tensor:
        """Log-probability of every part at every point, [B, N, parts], of objects of ``category`` int64 [B]."""

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)


@MODELS.register_module()
class PointPartSegmenter(PartSegmenter):
    """Latents of several encoder blocks, carried to the points, joined with what is known of the whole object.

    Args:
        tokenizer: Clouds -> tokens, module or config.
        position_embedding: Coordinates -> channels of the encoder.
        encoder: A :class:`ViT` without class token.
        num_parts: Parts over all categories.
        num_categories: Object categories; the category of a cloud is given.
        layers: Indices of the encoder blocks that are read, each through the encoder's final norm.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    fresh = ("category_embedding.", "propagation.", "head.")
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        position_embedding: nn.Module | dict,
        encoder: nn.Module | dict,
        num_parts: int = 50,
        num_categories: int = 16,
        *,
        layers: Sequence[int] = (3, 7, 11),
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(tokenizer, position_embedding, encoder, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.layers = tuple(layers)
        self.num_categories = num_categories
        width = self.encoder.embed_dim
        joined = len(self.layers) * width
        self.category_embedding = nn.Sequential(
            nn.Linear(num_categories, 64, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU(0.2)
        )
        self.propagation = FeaturePropagation(joined, 3, (4 * width, 1024))
        self.head = PartHead(1024, 2 * joined + 64, num_parts)

    def log_probabilities(self, points: Tensor, category: Tensor) -> Tensor:
        """Log-probability of every part at every point, [B, N, parts]."""
        points = points[..., :3].float().contiguous()
        tokens = self.tokenizer(points)
        positions = self.position_embedding(tokens.coordinates)
        levels = torch.cat(self.encoder.intermediate(tokens.features, positions, self.layers), dim=-1)  # [B, G, L C]
        local = self.propagation(points, tokens.coordinates, points, levels)
        one_hot = F.one_hot(category, self.num_categories).to(points.dtype)
        whole = torch.cat((levels.amax(dim=1), levels.mean(dim=1), self.category_embedding(one_hot)), dim=-1)
        return self.head(local, whole).float().log_softmax(dim=-1)


class PartHead(nn.Module):
    """Shared MLP over [point feature | object feature] -> part scores.

    The first layer's part for the object feature is applied once per object instead of once per point.
    """

    def __init__(self, point_dim: int, object_dim: int, num_parts: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(point_dim + object_dim, 512)
        self.norm1 = nn.BatchNorm1d(512)
        self.dropout = nn.Dropout(0.5)
        self.linear2 = nn.Linear(512, 256)
        self.norm2 = nn.BatchNorm1d(256)
        self.linear3 = nn.Linear(256, num_parts)

    def forward(self, local: Tensor, whole: Tensor) -> Tensor:
        """[B, N, point_dim] and [B, object_dim] -> [B, N, parts]."""
        for_local, for_whole = self.linear1.weight.split([local.shape[-1], whole.shape[-1]], dim=1)
        x = F.linear(local, for_local) + F.linear(whole, for_whole, self.linear1.bias).unsqueeze(1)
        x = self.dropout(_norm_rows(self.norm1, x).relu())
        x = _norm_rows(self.norm2, self.linear2(x)).relu()
        return self.linear3(x)
