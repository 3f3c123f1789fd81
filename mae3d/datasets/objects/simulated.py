"""Simulated objects as a data set in memory, made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.simulators.objects.generate import find_categories, object_generator, simulate_cloud
from mae3d.errors import ConfigError
from mae3d.registry import DATASETS


@DATASETS.register_module()
class SimulatedObjects(ObjectDataset):
    """``count`` clouds of parametric objects, classes in turn; needs no file.

    A sample holds ``points``, ``label``, ``part_label`` (counted over all classes) and ``index``. Object i is the same
    in every epoch; training and test objects differ.

    Args:
        count: Number of clouds.
        split: "train" or "test".
        categories: Names of the classes, all by default.
        npoints: Points of a sample.
        stored_points: Points of a cloud before sub-sampling.
        turned: Turn each object about y by any angle.
        noise: Standard deviation of coordinate noise in unit radii.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        count: int,
        split: Literal["train", "test"] = "train",
        *,
        categories: Sequence[str] | None = None,
        npoints: int | None = 1024,
        stored_points: int = 2048,
        turned: bool = False,
        noise: float = 0.0,
        **options: Any,
    ) -> None:
        if count < 1:
            raise ConfigError(f"SimulatedObjects: count must be at least 1, got {count}")
        if split not in ("train", "test"):
            raise ConfigError(f'SimulatedObjects: split must be "train" or "test", got {split!r}')
        super().__init__(npoints=npoints, **{"normalize": "after", **options})
        self.count = count
        self.split = split
        self.categories = find_categories(categories)
        self.classes = tuple(category.name for category in self.categories)
        self.stored_points = stored_points
        self.turned = turned
        self.noise = noise
        self._first_part = [0]
        for category in self.categories:
            self._first_part.append(self._first_part[-1] + len(category.parts))
        self.prepare_skipping()

    def __len__(self) -> int:
        return self.count

    def sample_name(self, index: int) -> str:
        """Class and number of the object."""
        label, number = index % len(self.classes), index // len(self.classes)
        return f"simulated {self.split} {self.classes[label]} {number}"

    def load_cloud(self, index: int) -> Cloud:
        """Simulate object ``index``."""
        label, number = index % len(self.classes), index // len(self.classes)
        # Test objects are numbered apart: even for training, odd for testing.
        generator = object_generator(self.seed, self.classes[label], 2 * number + (self.split == "test"))
        cloud = simulate_cloud(
            self.categories[label], generator, self.stored_points, turned=self.turned, noise=self.noise
        )
        points = cloud.with_normals() if self.use_normals else cloud.points
        return Cloud(points, label, cloud.part + self._first_part[label])
