"""Voxel-MAE: Masked Autoencoder for Self-Supervised Pre-training on Lidar Point Clouds (Hess et al., arXiv 2207.00531).

    points [T, 4] (x y z lag) --DynamicVFE--> pillars of 0.5 m [V, 128]; each hidden with probability 0.7
    visible pillars --8 x 2 layers of windowed attention (SST)--> latents
    latents + mask token at hidden pillars and at 0.1 V empty cells --6 x 2 layers--> features [V + E, 128]
    three linear heads: 10 points and the number of points of hidden pillars; empty or not, for every cell
    squared Chamfer (points in half voxels) + smooth L1 (number) + binary cross-entropy (empty or not)

Differs from :class:`MaskedAutoencoder` in: packed batches of any size, a decoder that is also asked about cells without
points, and three objectives, each of which can be left out. Positions enter every attention, none the tokens. As in
the official code, voxel features are made before masking, so BatchNorm statistics see hidden voxels too, and the
occupancy head is positive for EMPTY.

Official code and this: batch size comes from the offsets, not from the highest batch index found, so samples without
voxels are no error; windows are attended at their own length instead of padded levels, with equal results; BatchNorm
keeps torch's unbiased running variance. Masks come from torch's generator; inject a ``mask`` to compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones import SSTBackbone
from mae3d.models.building import build, evaluating
from mae3d.models.decoders import SSTDecoder
from mae3d.models.losses.voxels import empty_cell_loss, point_count_loss, voxel_chamfer_loss
from mae3d.models.masking import VoxelMasking
from mae3d.models.targets.voxels import VoxelPoints, VoxelPointTarget
from mae3d.models.tokenizers import DynamicVFE, VoxelTokenizer
from mae3d.ops.scatter import scatter_reduce
from mae3d.registry import MODELS
from mae3d.structures import SceneReconstruction, VoxelMask, Voxels

OBJECTIVES = ("points", "count", "occupancy")
NUSCENES_RANGE = (-50.0, -50.0, -5.0, 50.0, 50.0, 3.0)
NUSCENES_PILLAR = (0.5, 0.5, 8.0)
RARELY_EMPTY = -4.59511985013459
"""Bias that makes the occupancy head start at a probability of 0.01 for EMPTY: -log(0.99 / 0.01)."""


class VoxelValues(NamedTuple):
    """What is predicted, or should be; None for objectives that are off.

    Attributes:
        points: Prediction [M, K, 3], in half voxels from the centre of each masked voxel.
        count: [M], number of points of each masked voxel.
        occupancy: [V + E], logits of EMPTY for every voxel and every empty cell.
    """

    points: Tensor | None
    count: Tensor | None
    occupancy: Tensor | None


class VoxelPrediction(NamedTuple):
    """One pass of :class:`VoxelMAE`.

    Attributes:
        prediction: Outputs of the heads.
        target: What they should be; ``points`` holds [P, 3] packed by ``target_offsets`` [M + 1].
        target_offsets: None without the points objective.
        decoded: [V + E, C], what the heads saw.
        mask: Which voxels were hidden, and the empty cells.
        voxels: All voxels.
    """

    prediction: VoxelValues
    target: VoxelValues
    target_offsets: Tensor | None
    decoded: Tensor
    mask: VoxelMask
    voxels: Voxels


class VoxelHeads(nn.ModuleDict):
    """A linear layer for each objective, weights from a normal of deviation 0.01.

    Args:
        embed_dim: Width of the decoder.
        objectives: Out of "points", "count", "occupancy".
        num_points: Points K predicted for a voxel.
    """

    def __init__(self, embed_dim: int, objectives: Sequence[str], num_points: int) -> None:
        widths = {"points": 3 * num_points, "count": 1, "occupancy": 1}
        super().__init__({name: nn.Linear(embed_dim, widths[name]) for name in OBJECTIVES if name in objectives})
        for name, layer in self.items():
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, RARELY_EMPTY if name == "occupancy" else 0.0)

    def forward(self, decoded: Tensor, mask: VoxelMask) -> VoxelValues:
        """Features [V + E, C] -> predictions."""
        hidden = decoded.index_select(0, mask.masked)
        points = self["points"](hidden).tanh().unflatten(1, (-1, 3)) if "points" in self else None
        count = self["count"](hidden).squeeze(1) if "count" in self else None
        occupancy = self["occupancy"](decoded).squeeze(1) if "occupancy" in self else None
        return VoxelValues(points, count, occupancy)


@MODELS.register_module()
class VoxelMAE(BaseModel):
    """Voxel-MAE with the published hyper-parameters as defaults.

    Args:
        in_channels: Columns of the points: x y z and the lag (4), with intensity 5.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        voxel_size: (x, y, z), metres.
        window: Window size in voxels (x, y, z).
        vfe_channels: Widths of the voxel encoder but for the last, which is ``embed_dim``.
        normalized: Points enter in shares of the range and of a voxel instead of metres, see :class:`DynamicVFE`.
        embed_dim: Width C of encoder and decoder.
        depth: Pairs of encoder layers.
        num_heads: Attention heads of encoder and decoder.
        decoder_depth: Pairs of decoder layers.
        mask_ratio: Share of hidden voxels.
        mask_count: "bernoulli" as published, or "exact", see :class:`VoxelMasking`.
        empty_ratio: Empty cells asked about, as a share of each sample's voxels; not drawn without "occupancy".
        num_points: Points K predicted for a voxel.
        max_target_points: Points of a voxel that it is compared with, a random subset where there are more.
        objectives: Out of "points", "count" and "occupancy", or the weight of each; one that is absent has no head.
        outside: See :class:`VoxelTokenizer`.
        temperature: Of the position encoding inside windows.
        gradient_checkpointing: Recompute layers in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    modality = "lidar"
    """Kind of input: which example batch fits the model."""

    def __init__(
        self,
        *,
        in_channels: int = 4,
        point_range: Sequence[float] = NUSCENES_RANGE,
        voxel_size: Sequence[float] = NUSCENES_PILLAR,
        window: Sequence[int] = (16, 16, 1),
        vfe_channels: Sequence[int] = (64,),
        normalized: bool = False,
        embed_dim: int = 128,
        depth: int = 8,
        num_heads: int = 8,
        decoder_depth: int = 6,
        mask_ratio: float = 0.7,
        mask_count: Literal["bernoulli", "exact"] = "bernoulli",
        empty_ratio: float = 0.1,
        num_points: int = 10,
        max_target_points: int = 100,
        objectives: Mapping[str, float] | Sequence[str] = OBJECTIVES,
        outside: Literal["drop", "clamp"] = "drop",
        temperature: float = 10000.0,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.objectives = dict(objectives) if isinstance(objectives, Mapping) else dict.fromkeys(objectives, 1.0)
        if not self.objectives or not set(self.objectives) <= set(OBJECTIVES):
            raise ConfigError(f"VoxelMAE: objectives must be some of {OBJECTIVES}, got {list(self.objectives)}")
        options = {"window": window, "temperature": temperature, "gradient_checkpointing": gradient_checkpointing}
        vfe = DynamicVFE(in_channels, (*vfe_channels, embed_dim), normalized=normalized)
        self.tokenizer = VoxelTokenizer(point_range, voxel_size, vfe, outside=outside)
        self.masking = VoxelMasking(mask_ratio, mask_count, empty_ratio if "occupancy" in self.objectives else 0.0)
        self.encoder = SSTBackbone(embed_dim, depth, num_heads, **options)
        self.decoder = SSTDecoder(embed_dim, decoder_depth, num_heads, **options)
        self.target = VoxelPointTarget(max_target_points)
        self.prediction = VoxelHeads(embed_dim, list(self.objectives), num_points)

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor,
        index: Tensor | None = None,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [T, in_channels], packed.
            mode: "tensor" gives the decoder's features [V + E, C], "loss" the training losses, "predict" one dict per
                sample with its pooled ``features`` (and ``index``), for probes.
            offsets: int64 [B + 1].
            index: int64 [B], passed through by "predict".
            mask: Mask and empty cells to use instead of drawing them.
            generator: Source of all randomness of the pass; None: the global RNG of the device.
            **annotations: Further fields of the batch, not used.
        """
        if mode == "tensor":
            return self.predict_masked(points, mask, generator, offsets=offsets).decoded
        if mode == "loss":
            return self.compute_loss(points, offsets, mask, generator)
        if mode == "predict":
            features = self.extract_features(points, offsets)
            if index is None:
                return [{"features": row} for row in features]
            return [{"features": row, "index": own} for row, own in zip(features, index)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(
        self,
        points: Tensor,
        offsets: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Weighted training losses of one batch; the runner adds them up."""
        return self.weigh(self.predict_masked(points, mask, generator, offsets=offsets))

    def weigh(self, result: VoxelPrediction) -> dict[str, Tensor]:
        """Losses of one pass, each times its weight."""
        prediction, target, weights = result.prediction, result.target, self.objectives
        losses = {}
        if prediction.points is not None:
            chamfer = voxel_chamfer_loss(prediction.points, target.points, result.target_offsets)
            losses["loss_points_to_target"] = weights["points"] * chamfer.to_target
            losses["loss_points_to_prediction"] = weights["points"] * chamfer.to_prediction
        if prediction.count is not None:
            losses["loss_count"] = weights["count"] * point_count_loss(prediction.count, target.count)
        if prediction.occupancy is not None:
            losses["loss_occupancy"] = weights["occupancy"] * empty_cell_loss(prediction.occupancy, target.occupancy)
        return losses

    def predict_masked(
        self,
        points: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
        *,
        offsets: Tensor,
    ) -> VoxelPrediction:
        """Hide voxels and predict them."""
        voxels = self.tokenizer(points, offsets)
        if mask is None:
            mask = self.masking(voxels, generator)
        if mask.num_voxels != len(voxels):
            raise ValueError(f"VoxelMAE: the mask is of {mask.num_voxels} voxels, the batch has {len(voxels)}")
        latents = self.encoder(voxels.select(mask.visible)).features
        return self.compare(self.decoder(latents, voxels, mask), points, voxels, mask, generator)

    def compare(
        self,
        decoded: Tensor,
        points: Tensor,
        voxels: Voxels,
        mask: VoxelMask,
        generator: torch.Generator | None = None,
    ) -> VoxelPrediction:
        """Predictions from the decoder's features [V + E, C], beside their targets."""
        prediction = self.prediction(decoded, mask)
        target, target_offsets = self._targets(prediction, points, voxels, mask, generator)
        return VoxelPrediction(prediction, target, target_offsets, decoded, mask, voxels)

    def _targets(
        self,
        prediction: VoxelValues,
        points: Tensor,
        voxels: Voxels,
        mask: VoxelMask,
        generator: torch.Generator | None,
    ) -> tuple[VoxelValues, Tensor | None]:
        inside = VoxelPoints(None, None)
        if prediction.points is not None:
            inside = self.target(points, voxels, mask, generator)
        count = None if prediction.count is None else voxels.counts[mask.masked].float()
        empty = None
        if prediction.occupancy is not None:
            empty = (torch.arange(len(prediction.occupancy), device=points.device) >= len(voxels)).float()
        return VoxelValues(inside.points, count, empty), inside.offsets

    @torch.no_grad()
    def extract_features(self, points: Tensor, offsets: Tensor) -> Tensor:
        """Feature of every sample [B, 2 C]: eval mode, nothing hidden, maximum | mean over voxels."""
        with evaluating(self):
            voxels = self.encoder(self.tokenizer(points, offsets))
        cloud = voxels.coordinates[:, 0].contiguous()
        pooled = [scatter_reduce(voxels.features, cloud, voxels.batch_size, how) for how in ("max", "mean")]
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def reconstruct(
        self,
        points: Tensor,
        offsets: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
    ) -> SceneReconstruction:
        """Scenes for pictures: the input, what was hidden, the points predicted there, the occupancy."""
        with evaluating(self):
            result = self.predict_masked(points, mask, generator, offsets=offsets)
        voxels, predicted = result.voxels, result.prediction.points
        if predicted is not None:
            half = points.new_tensor(voxels.grid.voxel_size) / 2
            predicted = voxels.centers[result.mask.masked].unsqueeze(1) + predicted.float() * half
        occupancy = result.prediction.occupancy
        occupancy = None if occupancy is None else 1 - occupancy.float().sigmoid()
        return SceneReconstruction(points, offsets, voxels, result.mask, predicted, occupancy)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers: voxel encoder 0, encoder layer i is i + 1, the rest last."""
        total = self.encoder.num_layers + 2
        if name.startswith("tokenizer."):
            return 0, total
        if name.startswith("encoder.blocks."):
            return int(name.split(".")[2]) + 1, total
        return total - 1, total


@MODELS.register_module()
def voxel_mae_base(**overrides: Any) -> VoxelMAE:
    """The published model for x y z and lag: 3.73 M parameters."""
    return VoxelMAE(**overrides)


@MODELS.register_module()
def voxel_mae_intensity(**overrides: Any) -> VoxelMAE:
    """The published model for x y z, intensity and lag."""
    return VoxelMAE(**{"in_channels": 5, **overrides})


@MODELS.register_module()
def voxel_mae_shallow(**overrides: Any) -> VoxelMAE:
    """The published variant with four pairs of encoder layers."""
    return VoxelMAE(**{"depth": 4, **overrides})


@MODELS.register_module()
def voxel_mae_tiny(**overrides: Any) -> VoxelMAE:
    """Width 64 and 2 x 2 + 1 x 2 layers over windows of 10 pillars: trains on a CPU."""
    small = {"embed_dim": 64, "vfe_channels": (32,), "depth": 2, "decoder_depth": 1, "num_heads": 4}
    return VoxelMAE(**{**small, "window": (10, 10, 1), **overrides})


@MODELS.register_module()
def voxel_mae_test(**overrides: Any) -> VoxelMAE:
    """The smallest model with every mechanism in it, for tests."""
    small = {"embed_dim": 16, "vfe_channels": (8,), "depth": 1, "decoder_depth": 1, "num_heads": 2}
    scene = {"point_range": (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0), "voxel_size": (1.0, 1.0, 4.0), "window": (4, 4, 1)}
    return VoxelMAE(**{**small, **scene, "num_points": 4, **overrides})
