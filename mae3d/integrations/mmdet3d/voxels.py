"""Points to voxel features in mmdet3d: without a cap on points or voxels, by mae3d's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.models.data_preprocessors.data_preprocessor import Det3DDataPreprocessor
from mmdet3d.registry import MODELS
from torch import Tensor

from mae3d.errors import ConfigError, DataError
from mae3d.integrations.mmdet3d.axes import turn_cells, turn_grid, turn_points
from mae3d.integrations.mmdet3d.pretrained_part import PretrainedPart
from mae3d.models.tokenizers.voxels import DynamicVFE, MeanVFE
from mae3d.structures import VoxelGrid, Voxels


def cells_of(coordinates: Tensor, grid: VoxelGrid, turned: bool) -> Voxels:
    """mmdet3d's cells [V, 4] (cloud, z, y, x), clouds ascending, as :class:`Voxels` in our axes."""
    cells = coordinates.long()
    clouds = torch.arange(int(cells[-1, 0]) + 2, device=cells.device)
    offsets = torch.searchsorted(cells[:, 0].contiguous(), clouds)
    if turned:
        return Voxels(turn_cells(cells, grid), offsets, turn_grid(grid))
    return Voxels(cells, offsets, grid)


@MODELS.register_module()
class Mae3dDataPreprocessor(Det3DDataPreprocessor):
    """mmdet3d's preprocessor with ragged voxels: every point in the range counts, every voxel is kept.

    The batch gets ``voxels``: the points [T, C] of the voxels one after the other, ``num_points`` int64 [V], and
    ``coors`` int32 [V, 4] (cloud, z, y, x), ascending. The same cells in any run: nothing is drawn.

    Args:
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres, in mmdet3d's axes.
        voxel_size: (x, y, z), metres.
        **options: Of ``Det3DDataPreprocessor``.

    Raises:
        DataError: At the call: no point of the last cloud is in the range (mmdet3d counts the clouds of a batch by
            their last voxel).
    """

    def __init__(self, point_range: Sequence[float], voxel_size: Sequence[float], **options: Any) -> None:
        if options.keys() & {"voxel", "voxel_type", "voxel_layer", "max_voxels"}:
            raise ConfigError(
                "Mae3dDataPreprocessor: voxels are described by point_range and voxel_size alone, without the options "
                f"of mmdet3d's own; got {sorted(options)}"
            )
        super().__init__(voxel=False, **options)
        self.voxel = True
        self.grid = VoxelGrid(tuple(point_range), tuple(voxel_size))

    @torch.no_grad()
    def voxelize(self, points: list[Tensor], data_samples: list[Any]) -> dict[str, Tensor]:
        """Clouds [T_b, C] -> the packed voxels described above."""
        packed = torch.cat(points).float()
        counts = torch.tensor([0, *map(len, points)], device=packed.device)
        voxels = Voxels.from_points(packed, counts.cumsum(0), self.grid)
        if voxels.offsets[-1] == voxels.offsets[-2]:
            raise DataError(
                f"Mae3dDataPreprocessor: none of the {len(points[-1])} points of cloud {len(points) - 1} of the batch "
                f"lies in the range {list(self.grid.point_range)}; filter such frames out"
            )
        order = voxels.point_to_voxel.argsort(stable=True)
        order = order[len(packed) - int(voxels.counts.sum()) :]  # those outside, -1, come first
        return {"voxels": packed[order], "num_points": voxels.counts, "coors": voxels.coordinates.int()}


@MODELS.register_module()
class Mae3dVoxelEncoder(PretrainedPart):
    """Features of voxels: DynamicVFE as pre-trained, or the plain mean of the points.

    Takes the packed voxels of :class:`Mae3dDataPreprocessor`, or mmdet3d's hard ones (``voxel_type="hard"``).

    Args:
        point_range: As in the preprocessor, mmdet3d's axes.
        voxel_size: As in the preprocessor.
        in_channels: Columns of the points, x y z first.
        channels: Widths of the layers of DynamicVFE; None takes the mean, which has no parameters.
        turned: The points have x right and y ahead (nuScenes in mmdet3d); the encoder sees them with x ahead, as our
            pre-training does. Leave it off for weights that were pre-trained in mmdet3d.
        pretrained: See :class:`PretrainedPart`.
        init_cfg: Of mmengine.
    """

    file_prefix = "tokenizer.encoder."

    def __init__(
        self,
        point_range: Sequence[float],
        voxel_size: Sequence[float],
        in_channels: int = 4,
        channels: Sequence[int] | None = None,
        *,
        turned: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if channels is None and pretrained is not None:
            raise ConfigError("Mae3dVoxelEncoder: the mean (channels=None) has no weights to load; drop pretrained")
        encoder = MeanVFE(in_channels) if channels is None else DynamicVFE(in_channels, channels)
        super().__init__(encoder, pretrained, init_cfg)
        self.grid = VoxelGrid(tuple(point_range), tuple(voxel_size))
        self.turned = turned

    def forward(self, features: Tensor, num_points: Tensor, coors: Tensor, *unused: Any) -> Tensor:
        """Encode the voxels of a batch.

        Args:
            features: Packed points [T, C] of the voxels in order, or hard voxels [V, P, C] padded behind.
            num_points: int [V], points of each voxel.
            coors: int [V, 4], (cloud, z, y, x).
            *unused: Images and their description, which CenterPoint hands on.

        Returns:
            [V, C'].

        Raises:
            ConfigError: Points and counts that do not belong together.
        """
        counts = num_points.long()
        if features.dim() == 3:
            places = torch.arange(features.shape[1], device=features.device)
            features = features[places < counts[:, None]]  # [T, C]
        if len(features) != int(counts.sum()):
            raise ConfigError(
                f"Mae3dVoxelEncoder: {len(features)} points, but the voxels hold {int(counts.sum())}; use "
                "Mae3dDataPreprocessor, or Det3DDataPreprocessor with voxel_type='hard'"
            )
        index = torch.repeat_interleave(counts, output_size=len(features))
        points = turn_points(features) if self.turned else features
        return self.encoder(points.float(), index, cells_of(coors, self.grid, self.turned))
