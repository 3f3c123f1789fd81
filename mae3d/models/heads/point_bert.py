"""Downstream networks of Point-BERT (arXiv 2111.14819, section 4): classification and part segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d import ops
from mae3d.errors import ConfigError
from mae3d.models.heads.classification import HeadKind
from mae3d.models.heads.part_segmentation import FeaturePropagation, PartSegmenter
from mae3d.models.heads.point_mae import PointMAEClassifier
from mae3d.models.layers.edge_conv import EdgeConv
from mae3d.models.methods.point_mae import encoder_parts
from mae3d.registry import MODELS


@MODELS.register_module()
class PointBERTClassifier(PointMAEClassifier):
    """The fine-tuning network: as Point-MAE's, with its patch embedding and a smaller head; 22.1 M parameters.

    Args:
        num_classes: Number of classes.
        patch_dim: Width of the mini-PointNet's output.
        head: "mlp2" as published, see :class:`PointMAEClassifier`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        **options: See :class:`PointMAEClassifier`; with ``freeze`` the head alone trains.
    """

    fresh = ("head.",)

    def __init__(
        self,
        num_classes: int = 40,
        *,
        patch_dim: int = 256,
        head: HeadKind = "mlp2",
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        own = {"patch_dim": patch_dim, "head": head, "gradient_checkpointing": gradient_checkpointing}
        super().__init__(num_classes, **own, **options)


class EdgeUpsampling(nn.Module):
    """Features of few centres carried to more of them by two edge convolutions.

    Args:
        dim: Width C of all features.
        hidden_dim: Width between the two.
        neighbours: Edges of a centre k; all, where there are fewer centres.
    """

    def __init__(self, dim: int, hidden_dim: int = 512, neighbours: int = 4) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.across = EdgeConv(dim, hidden_dim, norm="group")
        self.within = EdgeConv(hidden_dim, dim, norm="group")

    def forward(self, centers: Tensor, own: Tensor, coarse_centers: Tensor, coarse: Tensor) -> Tensor:
        """[B, Q, C] at ``centers`` [B, Q, 3], which have ``own`` [B, Q, C], from ``coarse`` [B, S, C] at others."""
        x = self.across(own, ops.knn(coarse_centers, centers, k=min(self.neighbours, coarse.shape[1])).indices, coarse)
        return self.within(x, ops.knn(centers, k=min(self.neighbours, own.shape[1])).indices)


@MODELS.register_module()
class PointBERTSegmenter(PartSegmenter):
    """The ShapeNetPart network: latents of three blocks at G, 2 G and 4 G centres, joined from coarse to fine.

    Args:
        num_parts: Parts over all categories.
        num_categories: Object categories; the category of a cloud is given.
        num_groups: Patches per cloud G (128 for 2048 points).
        group_size: Points per patch.
        patch_dim: Width of the mini-PointNet's output.
        embed_dim: Width C.
        depth: Blocks.
        num_heads: Attention heads.
        layers: Indices of the blocks whose latents go to 4 G, 2 G and G centres.
        hidden_dim: Width inside the edge convolutions.
        drop_path: Rate at the last block.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.

    Raises:
        ConfigError: Not three blocks of the encoder.
    """

    fresh = ("propagation.", "upsampling.", "head.")
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        num_parts: int = 50,
        num_categories: int = 16,
        *,
        num_groups: int = 128,
        group_size: int = 32,
        patch_dim: int = 256,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        layers: Sequence[int] = (3, 7, 11),
        hidden_dim: int = 512,
        drop_path: float = 0.1,
        skip_near_origin: float | None = 1e-3,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if len(layers) != 3:
            raise ConfigError(f"PointBERTSegmenter: layers must be three blocks, got {tuple(layers)}")
        parts = encoder_parts(
            num_groups=num_groups,
            group_size=group_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
            gradient_checkpointing=gradient_checkpointing,
            class_token=True,
            patch_dim=patch_dim,
        )
        super().__init__(**parts, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.layers = tuple(layers)
        self.num_categories = num_categories
        # To points, to 4 G and to 2 G centres; points know their category and place, centres their place.
        known = (num_categories + 3, 3, 3)
        self.propagation = nn.ModuleList(
            FeaturePropagation(embed_dim, dim, (4 * embed_dim, embed_dim)) for dim in known
        )
        self.upsampling = nn.ModuleList(EdgeUpsampling(embed_dim, hidden_dim) for _ in range(2))  # to 4 G, to 2 G
        self.head = nn.Sequential(
            nn.Linear(embed_dim, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, num_parts)
        )

    def log_probabilities(self, points: Tensor, category: Tensor) -> Tensor:
        """Log-probability of every part at every point, [B, N, parts]."""
        points = points[..., :3].float().contiguous()
        tokens = self.tokenizer(points)
        centers = tokens.coordinates
        positions = self.position_embedding(centers)
        latents = self.encoder.intermediate(tokens.features, positions, self.layers)
        fine, middle, x = (level[:, 1:] for level in latents)

        num_groups, skip = self.tokenizer.num_groups, self.tokenizer.skip_near_origin
        chosen = ops.furthest_point_sample(points, 4 * num_groups, skip_near_origin=skip)
        fine_centers = ops.gather_points(points, chosen)  # the first G of these are the patches' centres
        middle_centers = fine_centers[:, : 2 * num_groups].contiguous()
        middle = self.propagation[2](middle_centers, centers, middle_centers, middle)
        fine = self.propagation[1](fine_centers, centers, fine_centers, fine)
        middle = self.upsampling[1](middle_centers, middle, centers, x)
        fine = self.upsampling[0](fine_centers, fine, middle_centers, middle)

        one_hot = F.one_hot(category, self.num_categories).to(points.dtype)
        known = torch.cat((one_hot.unsqueeze(1).expand(-1, points.shape[1], -1), points), dim=-1)
        x = self.propagation[0](points, fine_centers, known, fine)
        return self.head(x.flatten(0, 1)).float().log_softmax(dim=-1).unflatten(0, points.shape[:2])


_TEST_SIZE = {"num_groups": 16, "group_size": 8, "patch_dim": 32, "embed_dim": 32, "depth": 3, "num_heads": 2}


@MODELS.register_module()
def point_bert_classifier_test(**overrides: Any) -> PointBERTClassifier:
    """Fine-tuning network around the encoder of ``point_bert_test``."""
    return PointBERTClassifier(**{**_TEST_SIZE, "num_classes": 5, **overrides})


@MODELS.register_module()
def point_bert_segmenter_test(**overrides: Any) -> PointBERTSegmenter:
    """Part segmentation network around the encoder of ``point_bert_test``."""
    return PointBERTSegmenter(**{**_TEST_SIZE, "layers": (0, 1, 2), "hidden_dim": 32, **overrides})
