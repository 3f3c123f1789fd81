"""Writes simulated frames as the KITTI object benchmark lies on disk: velodyne, label_2, calib, planes, image_2.

The images are blank; published loaders read their size. As in KITTI, only what the front camera sees is annotated.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.kitti_files import IMAGE_SIZE
from mae3d.datasets.parallel import ProgressLine, run_parallel
from mae3d.datasets.simulators.claim import claim_folder
from mae3d.datasets.simulators.driving.camera import project_boxes
from mae3d.datasets.simulators.driving.scene import Agent, build_scene
from mae3d.datasets.simulators.driving.sensors import HDL_64E
from mae3d.datasets.simulators.driving.simulate import Sweep, record
from mae3d.errors import ConfigError
from mae3d.structures.box_conventions import to_kitti_camera
from mae3d.structures.boxes import wrap_angle

FRAMES_PER_SCENE = 5
SECONDS_APART = 1.5
ANNOTATION_RANGE = 80.0
FOCAL, CENTRE = 721.5377, (609.5593, 172.854)  # pixels, of the recordings of September 26
IMAGE_FROM_CAMERA = np.array([[FOCAL, 0, CENTRE[0], 0], [0, FOCAL, CENTRE[1], 0], [0, 0, 1, 0.0]])
CAMERA_FROM_LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])
CLASS_TO_CATEGORY = {"car": "Car", "truck": "Truck", "pedestrian": "Pedestrian"}
_VISIBLE_LEVELS = (0.8, 0.4)  # shares above which an object is fully, partly visible


@dataclass(frozen=True)
class KittiPlan:
    """What to simulate.

    Attributes:
        root: Folder that holds ``ImageSets/`` and ``training/``.
        train_frames: Number of training frames.
        val_frames: Number of validation frames.
        seed: Seed of everything.
        motion_distortion: See :func:`record`.
    """

    root: Path
    train_frames: int
    val_frames: int
    seed: int = 0
    motion_distortion: bool = False

    def __post_init__(self) -> None:
        if min(self.train_frames, self.val_frames) < 1:
            raise ConfigError(
                f"simulated KITTI needs training and validation frames, got {self.train_frames} and {self.val_frames}"
            )


def write_kitti(plan: KittiPlan, *, workers: int = 0) -> Path:
    """Simulate all frames and write them; an interrupted simulation goes on. Returns the root.

    Raises:
        DataError: the folder holds other data.
    """
    settings = {"layout": "kitti", "frames": [plan.train_frames, plan.val_frames], "seed": plan.seed}
    claim_folder(plan.root, settings | ({"motion_distortion": True} if plan.motion_distortion else {}))
    numbers = np.arange(plan.train_frames + plan.val_frames)
    # Training and validation frames never share a street.
    groups = [
        group
        for part in (numbers[: plan.train_frames], numbers[plan.train_frames :])
        for group in np.split(part, np.arange(FRAMES_PER_SCENE, len(part), FRAMES_PER_SCENE))
    ]
    tasks = [(group.tolist(), plan.seed * 1_000_003 + place) for place, group in enumerate(groups)]
    run_parallel(partial(_write_scene, plan), tasks, workers=workers, progress=ProgressLine("scenes"))
    splits = {"train": numbers[: plan.train_frames], "val": numbers[plan.train_frames :], "trainval": numbers}
    for name, chosen in splits.items():
        _write(plan.root / "ImageSets" / f"{name}.txt", "".join(f"{n:06d}\n" for n in chosen))
    return plan.root


def _write(path: Path, content: str | bytes) -> None:
    with atomic_write(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _write_scene(plan: KittiPlan, task: tuple[list[int], int]) -> None:
    numbers, seed = task
    folder = plan.root / "training"
    missing = [n for n in numbers if not (folder / "label_2" / f"{n:06d}.txt").exists()]  # written last
    if not missing:
        return
    scene = build_scene(seed, FRAMES_PER_SCENE * SECONDS_APART)
    for place, number in enumerate(numbers):
        if number not in missing:
            continue
        options = {"start": place * SECONDS_APART, "motion_distortion": plan.motion_distortion}
        sweep = next(record(scene, HDL_64E, 1, seed * FRAMES_PER_SCENE + place, **options))
        name = f"{number:06d}"
        _write(folder / "velodyne" / f"{name}.bin", sweep.points[:, :4].astype("<f4").tobytes())
        _write(folder / "calib" / f"{name}.txt", _calibration())
        _write(folder / "planes" / f"{name}.txt", _plane())
        _write(folder / "image_2" / f"{name}.png", _blank_image())
        _write(folder / "label_2" / f"{name}.txt", "".join(label_lines(sweep, scene.agents)))


def label_lines(sweep: Sweep, agents: list[Agent]) -> list[str]:
    """Lines of the label file of one sweep."""
    boxes = torch.from_numpy(sweep.boxes[:, :7])
    camera = to_kitti_camera(boxes, torch.from_numpy(CAMERA_FROM_LIDAR)).numpy()
    image = project_boxes(sweep.boxes, IMAGE_FROM_CAMERA @ CAMERA_FROM_LIDAR, IMAGE_SIZE)
    near = np.hypot(sweep.boxes[:, 0], sweep.boxes[:, 1]) < ANNOTATION_RANGE
    lines = []
    for row in np.flatnonzero(image.seen & near & (sweep.num_points > 0) & (image.truncation < 0.95)):
        category = _category(agents[row])
        if category is None:
            continue
        x, y, z, *size, turn = camera[row]
        alpha = wrap_angle(torch.tensor(turn - np.arctan2(x, z))).item()
        occlusion = sum(image.visible[row] < level for level in _VISIBLE_LEVELS)
        numbers = (*image.box_2d[row], *size, x, y, z, turn)
        text = " ".join(f"{value:.4f}" for value in numbers)
        lines.append(f"{category} {image.truncation[row]:.2f} {occlusion} {alpha:.4f} {text}\n")
    return lines


def _category(agent: Agent) -> str | None:
    if agent.name in ("bicycle", "motorcycle"):
        return "Cyclist" if agent.speed > 0.2 else "Misc"
    if agent.name in ("traffic_cone", "barrier"):
        return None
    return CLASS_TO_CATEGORY.get(agent.name, "Misc")


def _calibration() -> str:
    text = lambda values: " ".join(f"{value:.12e}" for value in np.ravel(values))  # noqa: E731
    lines = [f"P{camera}: {text(IMAGE_FROM_CAMERA)}" for camera in range(4)]
    lines += [f"R0_rect: {text(np.eye(3))}", f"Tr_velo_to_cam: {text(CAMERA_FROM_LIDAR[:3])}"]
    lines.append(f"Tr_imu_to_velo: {text(np.eye(4)[:3])}")
    return "\n".join(lines) + "\n"


def _plane() -> str:
    height = HDL_64E.height + CAMERA_FROM_LIDAR[1, 3]
    return f"# Plane\nWidth 4\nHeight 1\n0.0 -1.0 0.0 {height:.4f}\n"


def _blank_image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", IMAGE_SIZE[::-1]).save(buffer, format="PNG")
    return buffer.getvalue()
