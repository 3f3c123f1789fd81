"""GD-MAE: Generative Decoder for MAE Pre-training on LiDAR Point Clouds (Yang et al., arXiv 2212.03010, CVPR 2023).

    points [T, 4] --PillarMlp--> pillars of 0.32 m [V, 128]; all but 15 % of each sample's are removed
    visible pillars --three stages of SST, convolutions of stride 2 between--> three sparse maps
    --made dense, brought to one resolution, joined, 3x3 convolution--> map read at every pillar [V, 128]
    one linear head: 16 points of each hidden pillar
    squared Chamfer with up to 64 of the pillar's points, metres from its centre

Differs from Voxel-MAE in: a pyramid with cosine attention, a decoder of convolutions without a mask token, points as
the one objective and in metres, an exact number of kept pillars.

Official code and this, published behaviour by name: which 64 points of a full pillar are compared, and how much each
of a sparse pillar's counts (``target_select="arrival"``); pillars reach one height below the range
(``outside="truncate"``); attention projections stay at their initialisation (``train_projections=False``). Windows are
attended at their own length instead of padded buckets, with equal results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.sst_pyramid import SSTPyramid
from mae3d.models.building import build, evaluating
from mae3d.models.decoders import GenerativeDecoder
from mae3d.models.losses.voxels import voxel_chamfer_loss
from mae3d.models.masking import VoxelMasking
from mae3d.models.methods.voxel_mae import VoxelPrediction, VoxelValues
from mae3d.models.targets.voxels import VoxelPointTarget
from mae3d.models.tokenizers import PillarMlp, VoxelTokenizer
from mae3d.models.tokenizers.voxels import Outside
from mae3d.ops.scatter import scatter_reduce
from mae3d.registry import MODELS
from mae3d.structures import SceneReconstruction, VoxelMask, Voxels
from mae3d.structures.sparse_tensor import SparseTensor

ONCE_RANGE = (-74.88, -74.88, -5.0, 74.88, 74.88, 3.0)
WAYMO_RANGE = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0)
KITTI_RANGE = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)


@MODELS.register_module()
class GDMAE(BaseModel):
    """GD-MAE with the published hyper-parameters as defaults.

    Args:
        in_channels: Columns of the points: x y z intensity (4), on Waymo with elongation (5).
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres; it is as high as the range.
        vfe_channels: Widths of the pillar encoder but for the last, which is ``widths[0]``.
        vfe_norm: Epsilon and momentum of its BatchNorm.
        normalized: See :class:`PillarMlp`.
        widths: Channels of each stage.
        depth: Pairs of attention layers of each stage.
        num_heads: Attention heads.
        window: Side of an attention window in cells of its stage.
        embed_dim: Width C of the decoder.
        mask_ratio: int((1 - mask_ratio) * L) of a sample's L pillars stay.
        num_points: Points K predicted for a pillar.
        max_target_points: Points of a pillar that it is compared with.
        target_select: "random" or "arrival", see :class:`VoxelPointTarget`.
        outside: See :class:`VoxelTokenizer`.
        train_projections: See :class:`SSTPyramid`.
        gradient_checkpointing: Recompute attention layers in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    modality = "lidar"
    """Kind of input: which example batch fits the model."""
    context: tuple[str, ...] = ()
    """Fields of a batch, beside the points, that :meth:`encode` takes."""
    encoder_type: type[SSTPyramid] = SSTPyramid

    def __init__(
        self,
        *,
        in_channels: int = 4,
        point_range: Sequence[float] = ONCE_RANGE,
        pillar: float = 0.32,
        vfe_channels: Sequence[int] = (64,),
        vfe_norm: Sequence[float] = (1e-3, 0.01),
        normalized: bool = False,
        widths: Sequence[int] = (128, 256, 256),
        depth: int = 2,
        num_heads: int = 8,
        window: int = 8,
        embed_dim: int = 128,
        mask_ratio: float = 0.85,
        num_points: int = 16,
        max_target_points: int = 64,
        target_select: Literal["random", "arrival"] = "random",
        outside: Outside = "drop",
        train_projections: bool = True,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        norm_eps, norm_momentum = vfe_norm
        vfe = PillarMlp(
            in_channels,
            (*vfe_channels, widths[0]),
            norm_eps=norm_eps,
            norm_momentum=norm_momentum,
            normalized=normalized,
        )
        voxel_size = (pillar, pillar, point_range[5] - point_range[2])
        self.tokenizer = VoxelTokenizer(point_range, voxel_size, vfe, outside=outside)
        self.masking = VoxelMasking(mask_ratio, "kept")
        self.encoder = self.encoder_type(
            widths[0],
            widths,
            depth,
            num_heads,
            window=window,
            train_projections=train_projections,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.decoder = GenerativeDecoder(widths, embed_dim)
        self.target = VoxelPointTarget(max_target_points, "metre", target_select)
        self.prediction = nn.Linear(embed_dim, 3 * num_points)

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor,
        index: Tensor | None = None,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
        **fields: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [T, in_channels], packed.
            mode: "tensor" gives the decoder's features [V, C], "loss" the training losses, "predict" one dict per
                sample with its pooled ``features`` (and ``index``), for probes.
            offsets: int64 [B + 1].
            index: int64 [B], passed through by "predict".
            mask: Mask to use instead of drawing one.
            generator: Source of all randomness of the pass; None: the global RNG of the device.
            **fields: Further fields of the batch; those of ``context`` are used.

        Raises:
            ConfigError: A field of ``context`` is missing.
        """
        context = self._context(fields)
        if mode == "tensor":
            return self.predict_masked(points, mask, generator, offsets=offsets, **context).decoded
        if mode == "loss":
            return self.weigh(self.predict_masked(points, mask, generator, offsets=offsets, **context))
        if mode == "predict":
            features = self.extract_features(points, offsets, **context)
            if index is None:
                return [{"features": row} for row in features]
            return [{"features": row, "index": own} for row, own in zip(features, index)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def _context(self, fields: dict[str, Any]) -> dict[str, Tensor]:
        missing = [name for name in self.context if name not in fields]
        if missing:
            raise ConfigError(
                f"{type(self).__name__}: the batch lacks {', '.join(missing)}; give the data set an earlier frame, "
                "e.g. previous=dict(gaps=(1,))"
            )
        return {name: fields[name] for name in self.context}

    def weigh(self, result: VoxelPrediction) -> dict[str, Tensor]:
        """Losses of one pass; the runner adds them up to the published one."""
        chamfer = voxel_chamfer_loss(result.prediction.points, result.target.points, result.target_offsets)
        return {"loss_points_to_target": chamfer.to_target, "loss_points_to_prediction": chamfer.to_prediction}

    def predict_masked(
        self,
        points: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
        *,
        offsets: Tensor,
        **context: Tensor,
    ) -> VoxelPrediction:
        """Hide pillars and predict their points; ``context`` as for :meth:`encode`."""
        voxels = self.tokenizer(points, offsets)
        if mask is None:
            mask = self.masking(voxels, generator)
        if mask.num_voxels != len(voxels):
            raise ValueError(
                f"{type(self).__name__}: the mask is of {mask.num_voxels} voxels, the batch has {len(voxels)}"
            )
        decoded = self.decoder(self.encode(voxels.select(mask.visible), **context), voxels)
        predicted = self.prediction(decoded.index_select(0, mask.masked)).unflatten(1, (-1, 3))
        target = self.target(points, voxels, mask, generator)
        values, wanted = VoxelValues(predicted, None, None), VoxelValues(target.points, None, None)
        return VoxelPrediction(values, wanted, target.offsets, decoded, mask, voxels)

    def encode(self, voxels: Voxels, **context: Tensor) -> list[SparseTensor]:
        """Scales of the given pillars, finest first."""
        return self.encoder(voxels)

    @torch.no_grad()
    def extract_features(self, points: Tensor, offsets: Tensor, **context: Tensor) -> Tensor:
        """Feature of every sample [B, 2 sum(widths)]: eval mode, nothing hidden, maximum | mean of every scale."""
        with evaluating(self):
            levels = self.encode(self.tokenizer(points, offsets), **context)
        pooled = [
            scatter_reduce(level.features, level.coordinates[:, 0].long(), level.batch_size, how)
            for level in levels
            for how in ("max", "mean")
        ]
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def reconstruct(
        self,
        points: Tensor,
        offsets: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
        **context: Tensor,
    ) -> SceneReconstruction:
        """Scenes for pictures: the input, what was hidden, the points predicted there."""
        with evaluating(self):
            result = self.predict_masked(points, mask, generator, offsets=offsets, **context)
        voxels = result.voxels
        predicted = voxels.centers[result.mask.masked].unsqueeze(1) + result.prediction.points.float()
        return SceneReconstruction(points, offsets, voxels, result.mask, predicted, **context)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers: pillar encoder 0, attention layers in order, the rest last.

        Convolutions before and after the layers of a stage belong to its first and last one.
        """
        per_stage = self.encoder.stages[0].transformer.num_layers
        total = per_stage * len(self.encoder.stages) + 2
        if name.startswith("tokenizer."):
            return 0, total
        if not name.startswith("encoder.stages."):
            return total - 1, total
        _, _, stage, part, *rest = name.split(".")
        within = {"down": 0, "out": per_stage - 1}.get(part)
        within = int(rest[1]) if within is None else within
        return 1 + int(stage) * per_stage + within, total


@MODELS.register_module()
def gd_mae_once(**overrides: Any) -> GDMAE:
    """The published model on ONCE: 8.09 M parameters."""
    return GDMAE(**overrides)


@MODELS.register_module()
def gd_mae_waymo(**overrides: Any) -> GDMAE:
    """The published model on Waymo: x y z intensity elongation, z from -2 to 4 m."""
    return GDMAE(**{"in_channels": 5, "point_range": WAYMO_RANGE, **overrides})


@MODELS.register_module()
def gd_mae_kitti(**overrides: Any) -> GDMAE:
    """The published model on KITTI: the part of the turn that the camera sees."""
    return GDMAE(**{"point_range": KITTI_RANGE, **overrides})


@MODELS.register_module()
def gd_mae_tiny(**overrides: Any) -> GDMAE:
    """Widths 32, 64, 64 and one pair of layers a stage: trains on a CPU."""
    return GDMAE(**{**TINY, **overrides})


@MODELS.register_module()
def gd_mae_test(**overrides: Any) -> GDMAE:
    """The smallest model with every mechanism in it, for tests."""
    return GDMAE(**{**SMALLEST, **overrides})


TINY = {"widths": (32, 64, 64), "vfe_channels": (32,), "depth": 1, "num_heads": 4, "embed_dim": 32}
SMALLEST = {
    "widths": (16, 16, 16),
    "vfe_channels": (8,),
    "depth": 1,
    "num_heads": 2,
    "embed_dim": 8,
    "window": 4,
    "point_range": (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0),
    "pillar": 1.0,
    "num_points": 4,
    "max_target_points": 8,
}
