"""Makes the frame index of the KITTI object benchmark from its official files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from mae3d.datasets.files import read_lines
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.kitti_files import (
    CATEGORIES,
    IMAGE_SIZE,
    KittiCalibration,
    KittiLabels,
    read_calibration,
    read_labels,
    read_png_size,
)
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import ConfigError, DataError
from mae3d.structures.box_conventions import from_kitti_camera

CLASSES = ("Car", "Pedestrian", "Cyclist")
SPLITS = ("train", "val", "trainval", "test")


def read_kitti(root: str | Path, split: str, *, workers: int = 0, progress: Progress | None = None) -> FrameIndex:
    """Index of a split.

    All objects are kept: those of other categories, and regions that are not labelled (``DontCare``, boxes of size 0
    far away), have label -1. ``box_extra`` holds category, truncation, occlusion, alpha, box_2d [., 4] and difficulty
    (0 easy, 1 moderate, 2 hard, -1 none), ``extra`` image_height, image_width, image_from_camera [3, 4] and
    camera_from_sensor [4, 4]. Frames are single: no pose is known (identity), each is a drive of its own, ``time`` is
    its number.

    Args:
        root: Folder that holds ``ImageSets/``, ``training/`` and ``testing/``.
        split: "train", "val", "trainval", "test", or "training" for all frames of the folder of that name.
        workers: Processes.
        progress: Told after each frame.

    Raises:
        ConfigError: an unknown split.
        DataError: a missing or damaged file.
    """
    root = Path(root)
    folder = root / ("testing" if split == "test" else "training")
    read = partial(_frame, root, folder)
    frames = run_parallel(read, frame_numbers(root, split), workers=workers, progress=progress)
    return FrameIndex.from_frames("kitti", CLASSES, frames)


def frame_numbers(root: Path, split: str) -> list[str]:
    """Numbers of a split, as in ``ImageSets/`` ("training": as found on disk)."""
    if split == "training":
        found = sorted(path.stem for path in (root / "training" / "velodyne").glob("*.bin"))
        if not found:
            raise DataError(f"{root / 'training' / 'velodyne'}: holds no .bin file")
        return found
    if split not in SPLITS:
        raise ConfigError(f'KITTI has the splits {", ".join(SPLITS)} and "training" (all that is there), not {split!r}')
    hint = 'Put the published ImageSets there, or use the split "training" for all frames on disk.'
    return read_lines(root / "ImageSets" / f"{split}.txt", hint)


def _frame(root: Path, folder: Path, number: str) -> Frame:
    calibration = read_calibration(folder / "calib" / f"{number}.txt")
    image = folder / "image_2" / f"{number}.png"
    height, width = read_png_size(image) if image.exists() else IMAGE_SIZE
    labels = None if folder.name == "testing" else read_labels(folder / "label_2" / f"{number}.txt")
    return make_frame(
        number, str((folder / "velodyne" / f"{number}.bin").relative_to(root)), calibration, (height, width), labels
    )


def make_frame(
    number: str, file: str, calibration: KittiCalibration, image_size: tuple[int, int], labels: KittiLabels | None
) -> Frame:
    """A frame out of what the text files (or an info file) say of it; no labels for a test frame."""
    return Frame(
        token=number,
        sequence=number,
        file=file,
        time=float(number),
        world_from_sensor=np.eye(4),
        extra={
            "image_height": image_size[0],
            "image_width": image_size[1],
            "image_from_camera": calibration.image_from_camera,
            "camera_from_sensor": calibration.camera_from_lidar,
        },
        **({} if labels is None else annotations(labels, calibration)),
    )


def annotations(labels: KittiLabels, calibration: KittiCalibration) -> dict:
    """The box fields of a :class:`Frame`."""
    known = labels.camera_boxes[:, 3:6].min(axis=1, initial=np.inf) > 0
    camera_boxes = labels.camera_boxes.copy()
    camera_boxes[~known, 3:6] = 0
    boxes = from_kitti_camera(torch.from_numpy(camera_boxes), torch.from_numpy(calibration.camera_from_lidar)).numpy()
    classes = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in CATEGORIES])
    return {
        "boxes": np.column_stack((boxes, np.full((len(boxes), 2), np.nan))),
        "labels": classes[labels.category],
        "num_points": np.full(len(boxes), -1),
        "tracks": [str(row) for row in range(len(boxes))],
        "box_extra": {
            "category": labels.category,
            "truncation": labels.truncation,
            "occlusion": labels.occlusion,
            "alpha": labels.alpha,
            "box_2d": labels.box_2d,
            "difficulty": labels.difficulty,
        },
    }
