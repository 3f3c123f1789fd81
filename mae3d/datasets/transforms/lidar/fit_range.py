"""A part of a driving scene as the cube that voxel patches are cut from."""

from __future__ import annotations

from collections.abc import Sequence

from mae3d.datasets.transforms.lidar.scene import Generator, RangeFilter, Scene, clouds_of
from mae3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class FitRange:
    """Keep the points inside a range and map the range to the cube [-1, 1]^3, each axis by its own scale.

    Columns after x y z are left out; boxes stay as they are, in metres.

    Args:
        point_range: x, y, z from (inclusive), x, y, z to (exclusive), metres.
    """

    def __init__(self, point_range: Sequence[float]) -> None:
        self.filter = RangeFilter(point_range, boxes=False)

    def __call__(self, scene: Scene, generator: Generator = None) -> Scene:
        """A new sample or batch. Nothing is drawn."""
        scene = self.filter(scene)
        mapped = {}
        for name, _ in clouds_of(scene):
            xyz = scene[name][:, :3]
            low, high = (
                xyz.new_tensor(corner) for corner in (self.filter.point_range[:3], self.filter.point_range[3:])
            )
            mapped[name] = (xyz - low) / (high - low) * 2 - 1
        return {**scene, **mapped}
