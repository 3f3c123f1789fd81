"""R-MAE: Sense Less, Generate More: Pre-training LiDAR Perception with Masked Autoencoders (arXiv 2406.07833, 2024).

    sweep [T, C] --hard voxels, mean of their points--> voxels [V, C]
    voxels --random angular sectors (second stage: thinned by range)--> VoxelMask
    visible voxels --the sparse encoder of the detector, stride 8--> latents [128, 2, H / 8, W / 8]
    latents --three transposed convolutions--> occupancy logits of every cell [41, H, W]
    binary cross-entropy with all occupied cells, visible and masked, mean over every cell of the grid

Networks and loss are those of Occupancy-MAE (arXiv 2206.09900); only the masking is new. The encoder is that of the
later detector, with equal names, so that it loads as it is.

Defaults are the method as described: sectors about the sensor, in metres, drawn for each cloud. The published code
measures azimuth and range from the minimum corner of the grid in voxel indices, draws one set of sectors for the whole
batch, and replaces a mask that leaves fewer than a tenth of the voxels by uniform sampling: ``mode="corner_index"``.
Its second stage also duplicates some voxels by a faulty shuffle; that is not reproduced.

``decoding="sparse"`` computes the published loss without the dense grid (see
:mod:`mae3d.models.decoders.sparse_occupancy`), equal up to rounding; "dense" is the decoder as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.backbones import VoxelBackBone8x, VoxelResBackBone8x
from mae3d.models.building import build, evaluating
from mae3d.models.decoders.dense_occupancy import OccupancyDecoder
from mae3d.models.decoders.sparse_occupancy import OccupancyField, decode_sparse
from mae3d.models.masking.radial import PUBLISHED_BANDS, RadialMasking
from mae3d.models.targets.occupancy import dense_occupancy
from mae3d.models.tokenizers.hard_voxels import HardVoxelTokenizer
from mae3d.ops import scatter_reduce
from mae3d.registry import MODELS
from mae3d.structures import SceneReconstruction, SparseTensor, VoxelMask, Voxels

ENCODERS = {"plain": VoxelBackBone8x, "residual": VoxelResBackBone8x}
HEIGHT = 40
"""Layers of the grid that the decoder fits; the encoder adds one."""
STAGES = ("conv_input", "conv1", "conv2", "conv3", "conv4", "conv_out")


class OccupancyPrediction(NamedTuple):
    """One pass of R-MAE.

    Attributes:
        loss: Mean binary cross-entropy over every cell.
        prediction: Occupancy logits at all V occupied cells, visible and masked.
        target: int64 [V, 4], these cells (cloud, z, y, x).
        mask: Which voxels were hidden.
        voxels: All voxels.
    """

    loss: Tensor
    prediction: Tensor
    target: Tensor
    mask: VoxelMask
    voxels: Voxels


@MODELS.register_module()
class RMAE(BaseModel):
    """R-MAE with the published KITTI hyper-parameters as defaults.

    Args:
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres: 40 cells high, multiples of 8 in x and y.
        voxel_size: (x, y, z), metres.
        num_features: Columns of a point.
        mask_ratio: Share of hidden sectors.
        mode: Frame of the mask, "sensor" or "corner_index", see :class:`RadialMasking`.
        two_stage: Thin the kept sectors by range, limits ``range_bands``.
        range_bands: (near, middle), metres or voxels; None: 3 and 5 metres, or 30 and 50 voxels.
        sector_degrees: Width of a sector.
        share_sectors: One draw for the batch, see :class:`RadialMasking`.
        minimum_visible: Guard, see :class:`RadialMasking`.
        encoder: "plain" (:class:`VoxelBackBone8x`) or "residual" (:class:`VoxelResBackBone8x` without biases).
        decoder_channels: Hidden widths of the decoder.
        decoding: "sparse" or "dense", the same loss by two ways.
        max_points: Points averaged in a voxel.
        max_voxels: Limit per cloud while training and otherwise.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.

    Raises:
        ConfigError: A grid that the decoder does not fit, or an unknown option.
    """

    modality = "lidar"
    """Kind of input: packed clouds with offsets."""

    def __init__(
        self,
        point_range: Sequence[float] = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0),
        voxel_size: Sequence[float] = (0.05, 0.05, 0.1),
        num_features: int = 4,
        *,
        mask_ratio: float = 0.8,
        mode: Literal["sensor", "corner_index"] = "sensor",
        two_stage: bool = False,
        range_bands: Sequence[float] | None = None,
        sector_degrees: float = 1.0,
        share_sectors: bool | None = None,
        minimum_visible: float | None = None,
        encoder: Literal["plain", "residual"] = "plain",
        decoder_channels: Sequence[int] = (32, 8),
        decoding: Literal["sparse", "dense"] = "sparse",
        max_points: int = 5,
        max_voxels: tuple[int, int] = (16000, 40000),
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        if encoder not in ENCODERS or decoding not in ("sparse", "dense"):
            raise ConfigError(
                f'RMAE: encoder must be "plain" or "residual" and decoding "sparse" or "dense", got {encoder!r} and '
                f"{decoding!r}"
            )
        if range_bands is not None and not two_stage:
            raise ConfigError("RMAE: range_bands belong to the second stage; set two_stage=True")
        self.tokenizer = HardVoxelTokenizer(
            tuple(point_range), tuple(voxel_size), num_features, max_points=max_points, max_voxels=max_voxels
        )
        x, y, z = self.tokenizer.grid.grid_size
        if z != HEIGHT or x % 8 or y % 8:
            raise ConfigError(
                f"RMAE: the decoder fits grids of {HEIGHT} cells in height and multiples of 8 in x and y, got "
                f"{(x, y, z)}; change voxel_size or point_range"
            )
        self.masking = RadialMasking(
            mask_ratio,
            mode,
            sector_degrees=sector_degrees,
            range_bands=(range_bands or PUBLISHED_BANDS.get(mode)) if two_stage else None,
            share_sectors=share_sectors,
            minimum_visible=minimum_visible,
        )
        options = {"bias": False} if encoder == "residual" else {}
        self.encoder = ENCODERS[encoder](num_features, **options)
        self.decoder = OccupancyDecoder(self.encoder.out_channels, decoder_channels)
        self.decoding = decoding

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
        """Run one batch of packed clouds.

        Args:
            points: [T, C], x y z first, metres.
            mode: "tensor" gives the logits at all occupied cells [V], "loss" the training loss, "predict" one dict
                per cloud with its pooled ``features`` (and ``index``), for probes.
            offsets: int64 [B + 1].
            index: int64 [B], passed through by "predict".
            mask: Mask to use instead of drawing one; it refers to the voxels in the tokenizer's order, which only
                evaluation mode keeps from call to call.
            generator: Source of shuffle and mask; None: the global RNG of the device.
            **annotations: Further fields of the batch, not used.
        """
        if mode == "tensor":
            return self.predict_masked(points, mask, generator, offsets=offsets).prediction
        if mode == "loss":
            return {"loss": self.predict_masked(points, mask, generator, offsets=offsets).loss}
        if mode == "predict":
            features = self.extract_features(points, offsets)
            if index is None:
                return [{"features": row} for row in features]
            return [{"features": row, "index": own} for row, own in zip(features, index)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def predict_masked(
        self,
        points: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
        *,
        offsets: Tensor,
    ) -> OccupancyPrediction:
        """Hide sectors and predict which cells are occupied."""
        voxels = self.tokenizer(points, offsets, generator)
        if mask is None:
            mask = self.masking(voxels, generator)
        latents = self.encode(voxels, mask)
        cells = voxels.coordinates
        if self.decoding == "sparse":
            field = decode_sparse(self.decoder, latents)
            return OccupancyPrediction(field.loss(cells), field.at(cells), cells, mask, voxels)
        logits = self.decoder(latents).float()
        target = dense_occupancy(cells, logits.shape[2:], voxels.batch_size)
        loss = F.binary_cross_entropy_with_logits(logits, target)
        cloud, z, y, x = cells.unbind(dim=1)
        return OccupancyPrediction(loss, logits[cloud, 0, z, y, x], cells, mask, voxels)

    def encode(self, voxels: Voxels, mask: VoxelMask | None = None) -> SparseTensor:
        """Latents of the visible voxels, or of all without a mask: 128 channels at stride 8."""
        return self.encoder(voxels if mask is None else voxels.select(mask.visible))

    @torch.no_grad()
    def extract_features(self, points: Tensor, offsets: Tensor) -> Tensor:
        """Feature of every cloud [B, 256] for probes: maximum and mean of the latents, nothing hidden, eval mode."""
        with evaluating(self):
            latents = self.encode(self.tokenizer(points, offsets))
        cloud = latents.coordinates[:, 0].long()
        pooled = [scatter_reduce(latents.features, cloud, latents.batch_size, kind) for kind in ("max", "mean")]
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def reconstruct(
        self,
        points: Tensor,
        offsets: Tensor,
        mask: VoxelMask | None = None,
        generator: torch.Generator | None = None,
    ) -> SceneReconstruction:
        """Scenes for pictures, in eval mode, with the probability of every voxel to be occupied.

        Of every scene as many cells are predicted as voxels are hidden: the likeliest that were not seen. Those of
        them that hold no point are ``mask.empty`` of the result.
        """
        with evaluating(self):
            voxels = self.tokenizer(points, offsets)
            if mask is None:
                mask = self.masking(voxels, generator)
            field = decode_sparse(self.decoder, self.encode(voxels, mask))
        hidden = torch.bincount(voxels.coordinates[mask.masked, 0], minlength=voxels.batch_size)
        cells = most_likely(field, voxels.select(mask.visible), hidden)
        wrong = cells[~torch.isin(voxels.grid.keys(cells), voxels.grid.keys(voxels.coordinates))]
        occupancy = field.at(torch.cat((voxels.coordinates, wrong))).sigmoid()
        return SceneReconstruction(
            points, offsets, voxels, VoxelMask(mask.visible, mask.masked, wrong), occupancy=occupancy
        )

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers: the encoder's six stages in order, then the decoder."""
        stage = name.split(".")[1]
        return (STAGES.index(stage) if name.startswith("encoder.") else len(STAGES)), len(STAGES) + 1


def most_likely(field: OccupancyField, seen: Voxels, counts: Tensor) -> Tensor:
    """Cells [N, 4] of the grid with the highest logits that were not seen, ``counts[b]`` of cloud b, by cloud."""
    cells, logits = field.reached()
    fresh = (cells[:, 1] < HEIGHT) & ~torch.isin(seen.grid.keys(cells), seen.grid.keys(seen.coordinates))
    cells, logits = cells[fresh], logits[fresh]
    order = logits.argsort(descending=True, stable=True)
    order = order[cells[order, 0].argsort(stable=True)]
    cells = cells[order]
    start = torch.searchsorted(cells[:, 0].contiguous(), torch.arange(len(counts), device=cells.device))
    rank = torch.arange(len(cells), device=cells.device) - start[cells[:, 0]]
    return cells[rank < counts[cells[:, 0]]]


@MODELS.register_module()
def r_mae(**overrides: Any) -> RMAE:
    """One stage, plain encoder ("Radial_MAE")."""
    return RMAE(**overrides)


@MODELS.register_module()
def r_mae_two_stage(**overrides: Any) -> RMAE:
    """Sectors, then range bands, at ratio 0.9 ("Radial_MAE_ra")."""
    return RMAE(**{"two_stage": True, "mask_ratio": 0.9, **overrides})


@MODELS.register_module()
def r_mae_residual(**overrides: Any) -> RMAE:
    """Residual encoder without the guard against small masks ("Radial_MAE_res")."""
    return RMAE(**{"encoder": "residual", "minimum_visible": 0.0, **overrides})


SMALL: dict[str, Any] = {
    "point_range": (-6.4, -4.8, -2.0, 6.4, 4.8, 2.0),
    "voxel_size": (0.4, 0.4, 0.1),
    "mask_ratio": 0.5,
    "sector_degrees": 10.0,
    "decoder_channels": (8, 24),
}
"""A grid of 32 x 24 x 40 cells."""


@MODELS.register_module()
def r_mae_test(**overrides: Any) -> RMAE:
    """The smallest model with every mechanism in it, for tests."""
    return r_mae(**{**SMALL, **overrides})


@MODELS.register_module()
def r_mae_two_stage_test(**overrides: Any) -> RMAE:
    """Two stages, small, for tests."""
    return r_mae_two_stage(**{**SMALL, **overrides})


@MODELS.register_module()
def r_mae_residual_test(**overrides: Any) -> RMAE:
    """Residual encoder, small, for tests."""
    return r_mae_residual(**{**SMALL, **overrides})
