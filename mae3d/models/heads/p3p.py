"""Classification on top of P3P: fine-tuning, linear probe, few-shot."""

from __future__ import annotations

from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.models.building import build, evaluating
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth
from mae3d.models.methods.p3p_encoder import Padding, check_padding, encode_all, encoder_parts, pack
from mae3d.models.tokenizers.voxel_patches import CellOrder
from mae3d.registry import MODELS


@MODELS.register_module()
class P3PClassifier(BaseModel):
    """The encoder of :class:`P3P` with a learned position of the class token, and one linear layer on its latent.

    Args:
        num_classes: Number of classes.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        color: See :class:`VoxelPatchTokenizer`, as the next four.
        cells: Voxels along each axis of the cube [-1, 1]^3.
        patch_size: Voxels along each axis of a patch.
        max_patches: Tokens of a cloud at most.
        order: Number of a cell inside a patch.
        padding: As in pre-training, see :class:`P3P`.
        drop_path: Rate at the last block.
        freeze: Linear probe: the head alone trains, and the class token keeps position 0 as in pre-training.
        label_smoothing: Share of probability spread over the other n - 1 classes (published value 0.1).
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    modality = "clouds"
    fresh = ("encoder.class_position", "head.")
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        num_classes: int = 15,
        *,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        color: bool = True,
        cells: int = 224,
        patch_size: int = 16,
        max_patches: int | None = 512,
        order: CellOrder = "little",
        padding: Padding = "none",
        drop_path: float = 0.1,
        freeze: bool = False,
        label_smoothing: float = 0.1,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.padding = check_padding("P3PClassifier", padding, max_patches)
        parts = encoder_parts(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            color=color,
            cells=cells,
            patch_size=patch_size,
            max_patches=max_patches,
            order=order,
            drop_path=0.0 if freeze else drop_path,
            class_position=not freeze,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.tokenizer, self.encoder = parts["tokenizer"], parts["encoder"]
        self.position_embedding = parts["position_embedding"]
        self.head = nn.Linear(embed_dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)
        self.smoothing = label_smoothing * num_classes / max(1, num_classes - 1)
        if freeze:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith("head."))

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor | None = None,
        label: Tensor | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: Packed [T, 3 or 6] with ``offsets``, or dense [B, N, 3 or 6]; x y z in [-1, 1] (r g b).
            mode: "tensor" gives scores [B, n] before softmax; "loss" cross entropy and the batch's accuracy;
                "predict" one dict per sample: ``scores`` [n] (and ``label``).
            offsets: int64 [B + 1].
            label: int64 [B].
            **annotations: Further fields of the batch, not used.
        """
        if mode not in ("tensor", "loss", "predict"):
            raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')
        if mode != "loss":
            with torch.set_grad_enabled(torch.is_grad_enabled() and mode == "tensor"):
                scores = self.head(self.features(points, offsets))
            if mode == "tensor":
                return scores
            if label is None:
                return [{"scores": row} for row in scores]
            return [{"scores": row, "label": own} for row, own in zip(scores, label)]
        scores = self.head(self.features(points, offsets)).float()
        loss = F.cross_entropy(scores, label, label_smoothing=self.smoothing)
        return {"loss": loss, "accuracy": (scores.argmax(dim=-1) == label).float().mean()}

    def features(self, points: Tensor, offsets: Tensor | None = None) -> Tensor:
        """What the head reads, [B, D]."""
        tokens = self.tokenizer(*pack(points, offsets))
        return encode_all(tokens, self.position_embedding, self.encoder, self.padding, self.tokenizer.max_patches)

    @torch.no_grad()
    def extract_features(self, points: Tensor, offsets: Tensor | None = None) -> Tensor:
        """What the head reads, [B, D], in eval mode, without gradients."""
        with evaluating(self):
            return self.features(points, offsets)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)


@MODELS.register_module()
def p3p_classifier_test(**overrides: Any) -> P3PClassifier:
    """Fine-tuning network around the encoder of ``p3p_test``."""
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2, "cells": 16, "patch_size": 4, "max_patches": 24}
    return P3PClassifier(**{**small, "num_classes": 5, **overrides})
