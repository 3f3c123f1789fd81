"""MaskFeat3D: 3D Feature Prediction for Masked-AutoEncoder-Based Point Cloud Pretraining (Yan et al., ICLR 2024,
arXiv 2304.06911).

    128 overlapping patches of Point-MAE, 76 (60 %) hidden; 52 visible tokens --12 blocks--> latents
    all 76 * 32 points of hidden patches, as positions without content, ask each other and the latents --4 blocks-->
    one linear layer --> normal and surface variation there
    1 - cosine of the normals, deviation of their length from 1, absolute difference of the variations

Parent: :class:`MaskedAutoencoder` with Point-MAE's parts. Where the hidden points are is given, never predicted.
Normals come with the cloud (columns 3 to 5). Variations come as the field ``variation``, or are made of each point's
neighbours in the batch. A cloud without normals gets both that way; such normals have no side, so they need
``normal_loss="abs_cos"``.

Deviation: stochastic depth drops branches of whole samples; the official decoder is sequence-first and drops the same
queries in all samples (``drop_path_over="queries"``).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mae3d import ops
from mae3d.errors import ConfigError, DataError
from mae3d.models.decoders import QueryDecoder
from mae3d.models.decoders.query import DropPathOver
from mae3d.models.layers import CoordinateMlp
from mae3d.models.losses import SurfaceLoss
from mae3d.models.losses.surface import NormalLoss
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, MaskedPrediction, Pooling
from mae3d.models.methods.point_mae import MASKINGS, TEST, TINY, encoder_parts
from mae3d.models.targets import SurfaceTarget
from mae3d.registry import MODELS
from mae3d.structures import Mask


@MODELS.register_module()
class MaskFeat3D(MaskedAutoencoder):
    """MaskFeat3D with the published hyper-parameters as defaults.

    Args:
        num_groups: See :class:`PointMAE`.
        group_size: See :class:`PointMAE`.
        mask_ratio: See :class:`PointMAE`.
        masking: See :class:`PointMAE`.
        embed_dim: See :class:`PointMAE`.
        depth: See :class:`PointMAE`.
        num_heads: See :class:`PointMAE`.
        decoder_depth: Decoder blocks.
        decoder_num_heads: Decoder attention heads.
        drop_path: Rate at the last block of encoder and decoder, rising linearly from 0.
        drop_path_over: See :class:`QueryDecoder`.
        normal_loss: See :class:`SurfaceLoss`.
        query_points: See :class:`SurfaceTarget`.
        neighbours: Neighbours that a variation is made of where none comes with the cloud.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        encoder: Module or config in place of Point-MAE's: ``(tokens, positions) -> latents``, all [B, V, embed_dim].
        pooling: Of :meth:`extract_features`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    def __init__(
        self,
        *,
        num_groups: int = 128,
        group_size: int = 32,
        mask_ratio: float = 0.6,
        masking: Literal["random", "block"] = "random",
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        decoder_depth: int = 4,
        decoder_num_heads: int = 6,
        drop_path: float = 0.1,
        drop_path_over: DropPathOver = "samples",
        normal_loss: NormalLoss = "cos",
        query_points: float = 1.0,
        neighbours: int = 16,
        skip_near_origin: float | None = 1e-3,
        encoder: nn.Module | dict | None = None,
        pooling: Pooling = "max",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if masking not in MASKINGS:
            raise ConfigError(f"MaskFeat3D: masking must be one of {sorted(MASKINGS)}, got {masking!r}")
        parts = encoder_parts(
            num_groups=num_groups,
            group_size=group_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
            gradient_checkpointing=gradient_checkpointing,
            content="rows",
            encoder=encoder,
        )
        decoder = QueryDecoder(
            embed_dim,
            decoder_depth,
            decoder_num_heads,
            position_embedding=CoordinateMlp(embed_dim),
            drop_path=drop_path,
            drop_path_over=drop_path_over,
            gradient_checkpointing=gradient_checkpointing,
        )
        super().__init__(
            **parts,
            masking=MASKINGS[masking](mask_ratio),
            decoder=decoder,
            target=SurfaceTarget(query_points),
            loss=SurfaceLoss(normal_loss),
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.neighbours = neighbours

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        variation: Tensor | None = None,
        **options: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch, see :meth:`MaskedAutoencoder.forward`.

        Args:
            points: [B, N, 3], with normals [B, N, 6], with variations too [B, N, 7].
            mode: "tensor" gives [B, Q, 4], normal and variation at the queries.
            variation: [B, N] or [B, N, 1], becomes the seventh column.
            **options: Others.
        """
        if variation is not None:
            points = torch.cat((points, variation.reshape(*points.shape[:2], 1)), dim=-1)
        return super().forward(points, mode, **options)

    def compute_loss(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Both losses of one batch."""
        result = self.predict_masked(inputs, mask, generator)
        losses = self.loss(result.prediction, result.target)
        return {"loss_normal": losses.normal, "loss_variation": losses.variation}

    def predict_masked(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> MaskedPrediction:
        """Hide patches and predict normal and variation at their points."""
        tokens = self.tokenizer(self.with_surface(inputs))
        if mask is None:
            mask = self.masking(tokens, generator)
        latents = self.encode(tokens, mask)
        places = mask.gather_visible(tokens.coordinates)
        decoded = self.decoder(latents, places, self.target.queries(tokens, mask))
        return MaskedPrediction(self.prediction(decoded), self.target(tokens, mask), mask, tokens)

    def with_surface(self, points: Tensor) -> Tensor:
        """Rows [B, N, 7] of x y z, normal, variation; what is not there is made of each point's neighbours.

        Raises:
            DataError: Another number of columns, or no normals for a loss that sees their side.
        """
        columns = points.shape[-1]
        if columns == 7:
            return points
        if columns not in (3, 6):
            raise DataError(f"MaskFeat3D: points must have 3, 6 or 7 columns, got shape {list(points.shape)}")
        if columns == 3 and self.loss.normal_loss != "abs_cos":
            raise DataError(
                f"MaskFeat3D: points of shape {list(points.shape)} have no normals, which "
                f'normal_loss="{self.loss.normal_loss}" needs. Set use_normals=True in the data set, or '
                'normal_loss="abs_cos", which does with normals of the neighbourhoods.'
            )
        surface = ops.local_surface(points[..., :3], self.neighbours)
        own = [surface.normals] if columns == 3 else []
        return torch.cat([points, *own, surface.variation.unsqueeze(-1)], dim=-1)

    def reconstruct(self, *_: Any, **__: Any) -> None:
        """Not there.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("MaskFeat3D predicts no positions, so there is no picture; leave ReconstructionHook out")


@MODELS.register_module()
def maskfeat3d_base(**overrides: Any) -> MaskFeat3D:
    """The published model: 31.3 M parameters."""
    return MaskFeat3D(**overrides)


@MODELS.register_module()
def maskfeat3d_tiny(**overrides: Any) -> MaskFeat3D:
    """Of the size of ``point_mae_tiny``."""
    return MaskFeat3D(**{**TINY, **overrides})


@MODELS.register_module()
def maskfeat3d_test(**overrides: Any) -> MaskFeat3D:
    """The smallest model with every mechanism in it, for tests."""
    return MaskFeat3D(**{**TEST, **overrides})
