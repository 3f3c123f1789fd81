"""What a masked autoencoder saw of driving scenes and what it made of the rest, for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mae3d.structures.voxel_mask import VoxelMask
from mae3d.structures.voxels import Voxels


@dataclass(frozen=True)
class SceneReconstruction:
    """Packed scenes of one batch, all in the frame and units of the input.

    Attributes:
        points: [T, 3 or more], the input.
        offsets: int64 [B + 1], its scenes.
        voxels: The occupied cells.
        mask: Which of them were hidden.
        predicted: [M, K, 3], K points predicted for each masked voxel, in the order of ``mask.masked``; None where the
            method predicts none.
        occupancy: [V + E] in [0, 1], how surely the model takes each cell to hold points: voxels, then ``mask.empty``;
            None where the method does not tell.
        previous_points: [T', 3 or more], an earlier frame of each scene that the method looked at, moved into the
            scene; None where it looks at one.
        previous_offsets: int64 [B + 1], its clouds.
    """

    points: Tensor
    offsets: Tensor
    voxels: Voxels
    mask: VoxelMask
    predicted: Tensor | None = None
    occupancy: Tensor | None = None
    previous_points: Tensor | None = None
    previous_offsets: Tensor | None = None

    def to(self, device: torch.device | str) -> SceneReconstruction:
        """The same scenes on ``device``."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device)

        return SceneReconstruction(
            self.points.to(device),
            self.offsets.to(device),
            self.voxels.to(device),
            self.mask.to(device),
            move(self.predicted),
            move(self.occupancy),
            move(self.previous_points),
            move(self.previous_offsets),
        )

    def scene(self, index: int) -> SceneReconstruction:
        """Scene ``index`` alone, as a batch of one.

        Raises:
            IndexError: The batch has no such scene.
        """
        if not 0 <= index < len(self.offsets) - 1:
            raise IndexError(f"SceneReconstruction has {len(self.offsets) - 1} scenes, got index {index}")
        start, stop = self.offsets[index : index + 2].tolist()
        first, last = self.voxels.offsets[index : index + 2].tolist()
        coordinates = self.voxels.coordinates[first:last].clone()
        coordinates[:, 0] = 0
        voxels = Voxels(coordinates, self.offsets.new_tensor([0, last - first]), self.voxels.grid)
        visible, masked = (_within(rows, first, last) for rows in (self.mask.visible, self.mask.masked))
        empty = None if self.mask.empty is None else self.mask.empty[:, 0] == index
        cells = None if empty is None else self.mask.empty[empty] * torch.tensor([0, 1, 1, 1], device=empty.device)
        occupancy = self.occupancy
        if occupancy is not None:
            asked = occupancy[len(self.voxels) :]
            occupancy = torch.cat((occupancy[first:last], asked if empty is None else asked[empty]))
        earlier = None if self.previous_points is None else slice(*self.previous_offsets[index : index + 2].tolist())
        previous = None if earlier is None else self.previous_points[earlier]
        return SceneReconstruction(
            self.points[start:stop],
            self.offsets.new_tensor([0, stop - start]),
            voxels,
            VoxelMask(self.mask.visible[visible] - first, self.mask.masked[masked] - first, cells),
            None if self.predicted is None else self.predicted[masked],
            occupancy,
            previous,
            None if previous is None else self.offsets.new_tensor([0, len(previous)]),
        )


def _within(rows: Tensor, first: int, last: int) -> Tensor:
    return ((rows >= first) & (rows < last)).nonzero().squeeze(1)
