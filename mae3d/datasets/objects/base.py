"""Object clouds: from an array in a file to a sample with a fixed number of normalised points."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from mae3d.datasets.base import SampleDataset
from mae3d.errors import ConfigError, DataError

Sampling = Literal["random", "replace", "shuffle", "first", "all"]
Normalize = Literal["before", "after", "never"]


@dataclass(frozen=True)
class Cloud:
    """One object as it lies in its file.

    Attributes:
        points: float [N, 3] or [N, 6]: x y z (nx ny nz).
        label: Class, an index into ``classes``; None where unknown.
        part_label: int [N], one part per point; None where unknown.
        variation: float [N], surface variation at each point; None where unknown.
    """

    points: np.ndarray
    label: int | None = None
    part_label: np.ndarray | None = None
    variation: np.ndarray | None = None


def normalize_cloud(points: np.ndarray) -> np.ndarray:
    """Subtract the mean of the points [N, 3+] and divide by the largest norm (further columns stay)."""
    xyz = points[:, :3] - points[:, :3].mean(axis=0)
    radius = np.sqrt((xyz**2).sum(axis=1).max())
    # A single repeated point has radius 0: it stays at the origin.
    xyz /= radius if radius > 0 else 1.0
    return np.concatenate([xyz, points[:, 3:]], axis=1) if points.shape[1] > 3 else xyz


class ObjectDataset(SampleDataset):
    """Base of the object-cloud datasets.

    A sample is ``{"points": float32 [npoints, 3 or 6], "index": int64}`` with ``"label"`` (int64), ``"part_label"``
    (int64 [npoints]) and ``"variation"`` (float32 [npoints]) where the files have them.

    Args:
        npoints: Number of points of a sample; None keeps what the file holds.
        sampling: How they are chosen: "random" without and "replace" with replacement, "shuffle" = "random" over
            all stored points, "first" the first ones in file order, "all" the file as it is.
        normalize: Mean to the origin, largest norm to 1: "before" or "after" the points are chosen, or "never".
        use_normals: Whether points carry their normals (columns 3 to 5).
        repeat_points: Whether a cloud with fewer than ``npoints`` points is filled up by repeated points; an error
            otherwise.
        seed, on_error: See :class:`mae3d.datasets.base.SampleDataset`.
    """

    def __init__(
        self,
        *,
        npoints: int | None = None,
        sampling: Sampling = "random",
        normalize: Normalize = "before",
        use_normals: bool = False,
        repeat_points: bool = False,
        seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(seed=seed, on_error=on_error)
        name = type(self).__name__
        if npoints is not None and npoints < 1:
            raise ConfigError(f"{name}: npoints must be at least 1 or None, got {npoints}")
        if sampling not in Sampling.__args__:
            raise ConfigError(f"{name}: sampling must be one of {Sampling.__args__}, got {sampling!r}")
        if normalize not in Normalize.__args__:
            raise ConfigError(f"{name}: normalize must be one of {Normalize.__args__}, got {normalize!r}")
        self.npoints = npoints
        self.sampling = sampling
        self.normalize = normalize
        self.use_normals = use_normals
        self.repeat_points = repeat_points

    @abstractmethod
    def load_cloud(self, index: int) -> Cloud:
        """The stored cloud of sample ``index``."""

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``: loaded, checked, normalised and sub-sampled."""
        cloud = self._check(index, self.load_cloud(index))
        points = cloud.points
        if self.normalize == "before":
            points = normalize_cloud(points)
        chosen = self._choose(index, len(points))
        points = points if chosen is None else points[chosen]
        if self.normalize == "after":
            points = normalize_cloud(points)
        sample = {"points": torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))}
        if cloud.label is not None:
            sample["label"] = torch.tensor(cloud.label, dtype=torch.int64)
        if cloud.part_label is not None:
            parts = cloud.part_label if chosen is None else cloud.part_label[chosen]
            sample["part_label"] = torch.from_numpy(parts.astype(np.int64))
        if cloud.variation is not None:
            variation = cloud.variation if chosen is None else cloud.variation[chosen]
            sample["variation"] = torch.from_numpy(variation.astype(np.float32))
        sample["index"] = torch.tensor(index, dtype=torch.int64)
        return sample

    def _check(self, index: int, cloud: Cloud) -> Cloud:
        name, points = self.sample_name(index), cloud.points
        columns = 6 if self.use_normals else 3
        if points.ndim != 2 or points.shape[1] < columns or points.dtype.kind not in "fiu":
            raise DataError(
                f"{name}: expected numbers of shape [N, {columns}{'' if self.use_normals else ' or more'}], "
                f"found {points.dtype} {list(points.shape)}. "
                + ("Set use_normals=False or use files with normals." if self.use_normals else "Replace the file.")
            )
        if len(points) == 0:
            raise DataError(f'{name}: cloud without points. Replace the file or set on_error="skip".')
        points = points[:, :columns].astype(np.float32)
        finite = np.isfinite(points).all(axis=1)
        if not finite.all():
            raise DataError(
                f"{name}: {int((~finite).sum())} of {len(points)} points are NaN or infinite, the first is row "
                f'{int(np.argmin(finite))}. Repair the file or set on_error="skip".'
            )
        if cloud.label is not None and self.classes and not 0 <= cloud.label < len(self.classes):
            raise DataError(f"{name}: label {cloud.label} is outside 0..{len(self.classes) - 1}. Repair the labels.")
        if cloud.part_label is not None and len(cloud.part_label) != len(points):
            raise DataError(f"{name}: {len(cloud.part_label)} part labels for {len(points)} points. Repair the file.")
        if cloud.variation is not None and cloud.variation.shape != (len(points),):
            raise DataError(
                f"{name}: variations of shape {list(cloud.variation.shape)} for {len(points)} points. Repair the file."
            )
        return Cloud(points, cloud.label, cloud.part_label, cloud.variation)

    def _choose(self, index: int, stored: int) -> np.ndarray | None:
        """Indices of the points to keep, None for all in file order."""
        if self.sampling == "all":
            return None
        wanted = stored if self.npoints is None or self.sampling == "shuffle" else self.npoints
        if self.sampling == "replace":
            return self.random_generator(index).integers(0, stored, wanted)
        if wanted > stored and not self.repeat_points:
            raise DataError(
                f"{self.sample_name(index)}: stores {stored} points, but npoints={wanted}. Lower npoints, or set "
                "repeat_points=True to repeat points."
            )
        if self.sampling == "first":
            return np.arange(wanted) % stored
        generator = self.random_generator(index)
        rounds = [generator.permutation(stored) for _ in range(-(-wanted // stored))]
        return np.concatenate(rounds)[:wanted]
