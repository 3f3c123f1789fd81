"""Bring the columns of one sensor to the scale of another's."""

from __future__ import annotations

from collections.abc import Sequence

from mae3d.datasets.transforms.lidar.scene import Generator, Scene, clouds_of
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ScaleFeatures:
    """Multiply the columns after x y z, of the earlier frame too.

    Data sets store intensity from 0 to 1 (KITTI, SemanticKITTI) or from 0 to 255 (nuScenes, ONCE, Argoverse 2): weights
    that are to serve both need one scale.

    Args:
        factors: One for each of the first columns after x y z; further columns stay as they are.

    Raises:
        ConfigError: No factor.
        DataError: A cloud has fewer columns.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        if not factors:
            raise ConfigError("ScaleFeatures: factors must name at least one column after x y z, got none")
        self.factors = tuple(map(float, factors))

    def __call__(self, scene: Scene, generator: Generator = None) -> Scene:
        """A new sample or batch. Nothing is drawn."""
        scaled = {}
        for name, _ in clouds_of(scene):
            points, stop = scene[name].clone(), 3 + len(self.factors)
            if points.shape[-1] < stop:
                raise DataError(
                    f"ScaleFeatures: {name} has {points.shape[-1]} columns, {len(self.factors)} factors need {stop}; "
                    "give fewer factors, or let the data set read more features"
                )
            points[..., 3:stop] *= points.new_tensor(self.factors)
            scaled[name] = points
        return {**scene, **scaled}
