"""Downstream networks of Point-MAE, which its successors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mae3d.models.heads.classification import HeadKind, PointClassifier
from mae3d.models.heads.part_segmentation import PointPartSegmenter
from mae3d.models.layers.initialization import Initialization
from mae3d.models.methods.point_mae import encoder_parts
from mae3d.registry import MODELS


@MODELS.register_module()
class PointMAEClassifier(PointClassifier):
    """The fine-tuning network: 22.1 M parameters with 40 classes.

    Args:
        num_classes: Number of classes.
        num_groups: Patches per cloud: 64 for 1024 points, 128 for 2048, 512 for 8192.
        group_size: Points per patch.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        drop_path: Rate at the last block.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        head: "mlp3" (fine-tuning, frozen MLP-3), "mlp2" or "linear" (frozen linear).
        head_initialization: See :class:`PointClassifier`.
        freeze: Frozen transfer: only class token, its position and the head train.
        label_smoothing: See :class:`PointClassifier`.
        voting: See :class:`Voting`.
        patch_dim: See :class:`mae3d.models.tokenizers.PointPatchTokenizer`.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    def __init__(
        self,
        num_classes: int = 40,
        *,
        num_groups: int = 64,
        group_size: int = 32,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        drop_path: float = 0.1,
        skip_near_origin: float | None = 1e-3,
        gradient_checkpointing: bool = False,
        head: HeadKind = "mlp3",
        head_initialization: Initialization = "default",
        freeze: bool = False,
        label_smoothing: float = 0.0,
        voting: nn.Module | dict | None = None,
        patch_dim: int | None = None,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
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
        super().__init__(
            **parts,
            num_classes=num_classes,
            head=head,
            head_initialization=head_initialization,
            freeze=freeze,
            label_smoothing=label_smoothing,
            voting=voting,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )


@MODELS.register_module()
class PointMAESegmenter(PointPartSegmenter):
    """The ShapeNetPart network: 27.1 M parameters with 50 parts.

    Args:
        num_parts: Parts over all categories.
        num_categories: Object categories.
        num_groups: Patches per cloud (128 for 2048 points).
        group_size: Points per patch.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        layers: Indices of the blocks that the head reads.
        drop_path: Rate at the last block.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    def __init__(
        self,
        num_parts: int = 50,
        num_categories: int = 16,
        *,
        num_groups: int = 128,
        group_size: int = 32,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        layers: Sequence[int] = (3, 7, 11),
        drop_path: float = 0.1,
        skip_near_origin: float | None = 1e-3,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        parts = encoder_parts(
            num_groups=num_groups,
            group_size=group_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
            gradient_checkpointing=gradient_checkpointing,
        )
        super().__init__(
            **parts,
            num_parts=num_parts,
            num_categories=num_categories,
            layers=layers,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )


_TEST_SIZE = {"num_groups": 16, "group_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}


@MODELS.register_module()
def point_mae_classifier_test(**overrides: Any) -> PointMAEClassifier:
    """Fine-tuning network around the encoder of ``point_mae_test``."""
    return PointMAEClassifier(**{**_TEST_SIZE, "num_classes": 5, **overrides})


@MODELS.register_module()
def point_mae_segmenter_test(**overrides: Any) -> PointMAESegmenter:
    """Part segmentation network around the encoder of ``point_mae_test``."""
    return PointMAESegmenter(**{**_TEST_SIZE, "layers": (0, 1, 2), **overrides})
