"""Driving scenes as files of the Rerun viewer: turn, zoom, switch parts on and off. Needs ``mae3d[rerun]``.

A file opens with ``rerun FILE``, or on https://app.rerun.io without an installation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from mae3d.errors import MissingExtraError
from mae3d.structures import SceneReconstruction, VoxelGrid
from mae3d.visualization.bev import TRUTH, Color
from mae3d.visualization.points import GREY, PREDICTED, VISIBLE
from mae3d.visualization.scenes import EMPTY_CELL, HIDDEN_CELL, points_of, score_colors

POINT_RADIUS = 0.04
"""Metres."""


def save_scene(scene: SceneReconstruction, path: str | Path, *, boxes: Tensor | None = None, index: int = 0) -> Path:
    """Write one scene of a batch: points, visible points, hidden and empty cells, predicted points, boxes.

    Raises:
        MissingExtraError: Rerun is not installed.
    """
    scene = scene.scene(index)
    mask, cells = scene.mask, scene.voxels.coordinates
    with _recording(path) as (rerun, log):
        log("points", _points(rerun, scene.points, GREY))
        log("visible", _points(rerun, points_of(scene, cells[mask.visible]), VISIBLE))
        log("hidden", _cells(rerun, scene.voxels.grid, cells[mask.masked], HIDDEN_CELL))
        if mask.empty is not None:
            log("empty", _cells(rerun, scene.voxels.grid, mask.empty, EMPTY_CELL))
        if scene.predicted is not None:
            log("predicted", _points(rerun, scene.predicted.flatten(0, 1), PREDICTED))
        if boxes is not None:
            log("boxes", _boxes(rerun, boxes, TRUTH))
    return Path(path)


def save_detections(
    points: Tensor,
    truth: Tensor,
    found: Mapping[str, Mapping[str, Tensor]],
    path: str | Path,
    *,
    classes: Sequence[str],
    lowest_score: float = 0.2,
) -> Path:
    """Write points, ground truth and what detectors found; arguments as of ``draw_detections``, ``labels`` included.

    Raises:
        MissingExtraError: Rerun is not installed.
    """
    with _recording(path) as (rerun, log):
        log("points", _points(rerun, points, GREY))
        log("truth", _boxes(rerun, truth, TRUTH))
        for name, own in found.items():
            kept = own["scores"] >= lowest_score
            scores = own["scores"][kept]
            texts = [f"{classes[label]} {score:.2f}" for label, score in zip(own["labels"][kept], scores)]
            log(f"detections/{name}", _boxes(rerun, own["boxes"][kept], score_colors(scores), texts))
    return Path(path)


@contextmanager
def _recording(path: str | Path) -> Iterator[tuple[ModuleType, Any]]:
    try:
        import rerun
    except ImportError:
        raise MissingExtraError("rerun-sdk", "rerun", "writing .rrd files") from None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    recording = rerun.RecordingStream("mae3d")
    recording.save(str(path))
    recording.log("scene", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    yield rerun, lambda name, content: recording.log(f"scene/{name}", content, static=True)
    recording.disconnect()


def _points(rerun: ModuleType, points: Tensor, color: Color) -> Any:
    return rerun.Points3D(_array(points[:, :3]), colors=np.array(color), radii=POINT_RADIUS)


def _cells(rerun: ModuleType, grid: VoxelGrid, coordinates: Tensor, color: Color) -> Any:
    size = np.array(grid.voxel_size)
    centers = np.array(grid.point_range[:3]) + (_array(coordinates[:, [3, 2, 1]]) + 0.5) * size
    return rerun.Boxes3D(centers=centers, half_sizes=np.broadcast_to(size / 2, centers.shape), colors=np.array(color))


def _boxes(rerun: ModuleType, boxes: Tensor, color: Color | Tensor, texts: Sequence[str] | None = None) -> Any:
    rows = _array(boxes)
    half = rows[:, 6] / 2
    turns = np.stack((np.zeros_like(half), np.zeros_like(half), np.sin(half), np.cos(half)), axis=1)
    colors = color.numpy() if isinstance(color, Tensor) else np.array(color)
    return rerun.Boxes3D(
        centers=rows[:, :3], half_sizes=rows[:, 3:6] / 2, quaternions=turns, colors=colors, labels=texts
    )


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
