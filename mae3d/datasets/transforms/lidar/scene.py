"""Augmentations of whole driving scenes, on points and boxes together.

Each works in two places: on a sample in a data worker (``points`` [N, C], ``boxes`` [M, 9]; draws from a numpy
Generator) and on a packed batch on any device (``points`` [T, C] with ``offsets``, ``boxes`` [K, 9] with
``box_offsets``; every sample gets its own draw from a torch generator). A new dict is returned; what was given stays as
it was. ``world_from_sensor`` goes on telling the pose of the scene before augmentation.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae3d.datasets.transforms.random_draws import draw_normal, draw_permutation, draw_uniform
from mae3d.errors import ConfigError
from mae3d.registry import TRANSFORMS
from mae3d.structures.boxes import flip_boxes, rotate_bev, scale_boxes, wrap_angle

Scene = dict[str, Any]
Generator = np.random.Generator | torch.Generator | None
_CLOUDS = (("points", "offsets"), ("previous_points", "previous_offsets"))
_PER_BOX = ("boxes", "box_labels", "box_points")


class SceneTransform:
    """Base: draws one row of parameters per sample and hands it to every point and box of that sample."""

    def __call__(self, scene: Scene, generator: Generator = None) -> Scene:
        """A new sample or batch, transformed."""
        boxes = scene["boxes"]
        draws = self.draw(_sample_count(scene), scene["points"], generator)
        moved = {}
        for name, offsets in clouds_of(scene):
            moved[name] = scene[name].clone()
            for rows, own in _shares(scene, offsets, draws, len(moved[name])):
                moved[name][rows, :3] = self.move_points(scene[name][rows, :3], own)
        of_boxes = _of_rows(draws, scene, "box_offsets", len(boxes))
        return {**scene, **moved, "boxes": self.move_boxes(boxes, of_boxes.to(boxes.dtype))}

    @abstractmethod
    def draw(self, count: int, like: Tensor, generator: Generator) -> Tensor:
        """Parameters [count, P] with dtype and device of ``like``."""

    @abstractmethod
    def move_points(self, xyz: Tensor, draws: Tensor) -> Tensor:
        """Coordinates [N, 3] by parameters [N or 1, P]."""

    @abstractmethod
    def move_boxes(self, boxes: Tensor, draws: Tensor) -> Tensor:
        """Boxes [M, 9] by parameters [M or 1, P]."""


def _sample_count(scene: Scene) -> int:
    return len(scene["offsets"]) - 1 if "offsets" in scene else 1


def clouds_of(scene: Scene) -> list[tuple[str, str]]:
    """Names of the points of each frame of a scene, and of their offsets."""
    return [(name, offsets) for name, offsets in _CLOUDS if name in scene]


def _shares(scene: Scene, offsets: str, draws: Tensor, count: int) -> list[tuple[slice, Tensor]]:
    """Rows of points and their parameters [rows or 1, P].

    On a device all points are moved at once; on a CPU sample by sample, so that nothing is computed for each point that
    is the same for all points of a sample.
    """
    if offsets not in scene or draws.device.type != "cpu":
        return [(slice(None), _of_rows(draws, scene, offsets, count))]
    bounds = itertools.pairwise(scene[offsets].tolist())
    return [(slice(start, stop), draws[number : number + 1]) for number, (start, stop) in enumerate(bounds)]


def _of_rows(draws: Tensor, scene: Scene, offsets: str, count: int) -> Tensor:
    """Parameters [1, P] for all rows of a sample, or [count, P] for the rows of a packed batch."""
    return _spread(draws, scene[offsets], count) if offsets in scene else draws


def _spread(draws: Tensor, offsets: Tensor, count: int) -> Tensor:
    return draws.repeat_interleave(offsets.diff(), dim=0, output_size=count)


def uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor, generator: Generator) -> Tensor:
    """U(low, high) from either kind of generator; None is torch's global one."""
    if isinstance(generator, np.random.Generator):
        return torch.from_numpy(generator.uniform(low, high, shape)).to(like)
    return draw_uniform(shape, low, high, like, generator)


def _check_interval(transform: str, name: str, interval: tuple[float, float]) -> None:
    low, high = interval
    if not low <= high:
        raise ConfigError(f"{transform}: {name} must be (low, high) with low <= high, got {interval}")


@TRANSFORMS.register_module()
class FlipScene(SceneTransform):
    """Mirror along each of ``axes`` with a probability: axis "x" turns x into -x.

    OpenPCDet names a flip after the axis that stays: its "along x" is our axis "y".
    """

    def __init__(self, axes: Sequence[str] = ("x", "y"), probability: float = 0.5) -> None:
        if not set(axes) <= {"x", "y"} or not 0 <= probability <= 1:
            raise ConfigError(f"FlipScene: axes out of x and y, probability in [0, 1]; got {axes}, {probability}")
        self.axes, self.probability = tuple(axes), probability

    def draw(self, count: int, like: Tensor, generator: Generator) -> Tensor:
        """1 where an axis is flipped, else 0."""
        return (uniform((count, len(self.axes)), 0, 1, like, generator) < self.probability).to(like)

    def move_points(self, xyz: Tensor, draws: Tensor) -> Tensor:
        """Change signs."""
        signs = xyz.new_ones(len(draws), 3)
        for place, axis in enumerate(self.axes):
            signs[:, "xy".index(axis)] = 1 - 2 * draws[:, place]
        return xyz * signs

    def move_boxes(self, boxes: Tensor, draws: Tensor) -> Tensor:
        """Mirror centres, headings and velocities."""
        for place, axis in enumerate(self.axes):
            boxes = torch.where(draws[:, place, None] > 0, flip_boxes(boxes, axis), boxes)
        return boxes


@TRANSFORMS.register_module()
class RotateScene(SceneTransform):
    """Turn about the vertical axis by U(low, high) radians.

    Args:
        low: Smallest angle.
        high: Largest angle.
        probability: Share of the scenes that are turned.
    """

    def __init__(self, low: float = -math.pi / 4, high: float = math.pi / 4, probability: float = 1.0) -> None:
        _check_interval("RotateScene", "angles", (low, high))
        self.low, self.high, self.probability = low, high, probability

    def draw(self, count: int, like: Tensor, generator: Generator) -> Tensor:
        """Angles [count, 1]."""
        angle = uniform((count, 1), self.low, self.high, like, generator)
        return torch.where(uniform((count, 1), 0, 1, like, generator) < self.probability, angle, angle.new_zeros(()))

    def move_points(self, xyz: Tensor, draws: Tensor) -> Tensor:
        """Turn counter-clockwise."""
        return torch.cat((rotate_bev(xyz[:, :2], draws[:, 0]), xyz[:, 2:]), dim=1)

    def move_boxes(self, boxes: Tensor, draws: Tensor) -> Tensor:
        """Turn centres, headings and velocities."""
        angle = draws[:, 0]
        moved = boxes.clone()
        moved[:, :2] = rotate_bev(boxes[:, :2], angle)
        moved[:, 6] = wrap_angle(boxes[:, 6] + angle)
        moved[:, 7:9] = rotate_bev(boxes[:, 7:9], angle)
        return moved


@TRANSFORMS.register_module()
class ScaleScene(SceneTransform):
    """Multiply all lengths (and velocities) by one factor U(low, high)."""

    def __init__(self, low: float = 0.95, high: float = 1.05, probability: float = 1.0) -> None:
        _check_interval("ScaleScene", "factors", (low, high))
        if low <= 0:
            raise ConfigError(f"ScaleScene: factors must be positive, got low={low}")
        self.low, self.high, self.probability = low, high, probability

    def draw(self, count: int, like: Tensor, generator: Generator) -> Tensor:
        """Factors [count, 1]."""
        factor = uniform((count, 1), self.low, self.high, like, generator)
        return torch.where(uniform((count, 1), 0, 1, like, generator) < self.probability, factor, factor.new_ones(()))

    def move_points(self, xyz: Tensor, draws: Tensor) -> Tensor:
        """Scale about the sensor."""
        return xyz * draws

    def move_boxes(self, boxes: Tensor, draws: Tensor) -> Tensor:
        """Scale centres, sizes and velocities."""
        return scale_boxes(boxes, draws)


@TRANSFORMS.register_module()
class TranslateScene(SceneTransform):
    """Move by N(0, std) along each axis.

    Args:
        std: Metres, for all axes or one value for each of x, y, z.
        probability: Share of the scenes that are moved.
    """

    def __init__(self, std: float | Sequence[float] = 0.2, probability: float = 1.0) -> None:
        self.probability = probability
        self.std = (std,) * 3 if isinstance(std, (int, float)) else tuple(std)
        if len(self.std) != 3 or min(self.std) < 0:
            raise ConfigError(f"TranslateScene: std must be one or three values of at least 0, got {std}")

    def draw(self, count: int, like: Tensor, generator: Generator) -> Tensor:
        """Shifts [count, 3]."""
        if isinstance(generator, np.random.Generator):
            draws = torch.from_numpy(generator.standard_normal((count, 3))).to(like)
        else:
            draws = draw_normal((count, 3), 1.0, like, generator)
        moved = uniform((count, 1), 0, 1, like, generator) < self.probability
        return draws * like.new_tensor(self.std) * moved

    def move_points(self, xyz: Tensor, draws: Tensor) -> Tensor:
        """Shift."""
        return xyz + draws

    def move_boxes(self, boxes: Tensor, draws: Tensor) -> Tensor:
        """Shift centres."""
        return torch.cat((boxes[:, :3] + draws, boxes[:, 3:]), dim=1)


@TRANSFORMS.register_module()
class RangeFilter:
    """Keep points inside a range, and boxes whose centre is above or below its floor plan.

    Args:
        point_range: x, y, z from (inclusive), x, y, z to (exclusive), metres.
        boxes: Filter the boxes too.
    """

    def __init__(self, point_range: Sequence[float], boxes: bool = True) -> None:
        if len(point_range) != 6 or any(point_range[axis] >= point_range[axis + 3] for axis in range(3)):
            raise ConfigError(f"RangeFilter: point_range must be x y z from, x y z to, got {list(point_range)}")
        self.point_range = tuple(float(value) for value in point_range)
        self.boxes = boxes

    def __call__(self, scene: Scene, generator: Generator = None) -> Scene:
        """A new sample or batch without what lies outside. Nothing is drawn."""
        for name, offsets in clouds_of(scene):
            scene = select_rows(scene, self._inside(scene[name], 3), (name,), offsets)
        if not self.boxes:
            return scene
        return select_rows(scene, self._inside(scene["boxes"], 2), _PER_BOX, "box_offsets")

    def _inside(self, rows: Tensor, axes: int) -> Tensor:
        inside = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        for axis in range(axes):
            values = rows[:, axis]
            inside &= (values >= self.point_range[axis]) & (values < self.point_range[axis + 3])
        return inside


@TRANSFORMS.register_module()
class BoxFilter:
    """Keep boxes that can be learnt from: of a scored class, with enough points.

    Args:
        min_points: Least number of points; boxes with an unknown number (-1) stay.
        scored: Drop boxes of label -1.
    """

    def __init__(self, min_points: int = 1, scored: bool = True) -> None:
        self.min_points, self.scored = min_points, scored

    def __call__(self, scene: Scene, generator: Generator = None) -> Scene:
        """A new sample or batch with fewer boxes. Nothing is drawn."""
        points = scene["box_points"]
        keep = (points >= self.min_points) | (points < 0)
        if self.scored:
            keep = keep & (scene["box_labels"] >= 0)
        return select_rows(scene, keep, _PER_BOX, "box_offsets")


def select_rows(scene: Scene, keep: Tensor, names: Sequence[str], offsets: str) -> Scene:
    """Keep some rows of the values ``names``; the offsets of a packed batch follow."""
    rows = keep.nonzero()[:, 0]
    changed = {name: scene[name].index_select(0, rows) for name in names if name in scene}
    if offsets in scene:
        changed[offsets] = torch.searchsorted(rows, scene[offsets])  # kept rows before each bound
    return {**scene, **changed}


@TRANSFORMS.register_module()
class ShufflePoints:
    """Put the points of every sample into random order."""

    def __call__(self, scene: Scene, generator: Generator = None) -> Scene:
        """A new sample or batch, shuffled."""
        shuffled = {}
        for name, offsets in clouds_of(scene):
            points = scene[name]
            if offsets in scene:
                order = _shuffled_rows(scene[offsets], points, generator)
            else:
                order = _permutation(len(points), points, generator)
            shuffled[name] = points.index_select(0, order)
        return {**scene, **shuffled}


def _shuffled_rows(offsets: Tensor, points: Tensor, generator: Generator) -> Tensor:
    """Rows of a packed batch, each sample's in random order."""
    if points.device.type == "cpu":
        bounds = offsets.tolist()
        return torch.cat([a + _permutation(b - a, points, generator) for a, b in itertools.pairwise(bounds)])
    # One sort of all keys: no count has to come back from the device.
    keys = uniform((len(points),), 0, 1, points.new_empty(0, dtype=torch.float64), generator)
    samples = torch.arange(len(offsets) - 1, device=points.device, dtype=keys.dtype)[:, None]
    return (keys + _spread(samples, offsets, len(points))[:, 0]).argsort()


def _permutation(count: int, like: Tensor, generator: Generator) -> Tensor:
    if isinstance(generator, np.random.Generator):
        return torch.from_numpy(generator.permutation(count)).to(like.device)
    return draw_permutation(count, like, generator)
