"""The text files of KITTI: calibrations and labels.

Frames: lidar (x ahead, y left, z up) and rectified camera 0 (x right, y down, z ahead), metres; the image is that of
camera 2, pixels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mae3d.datasets.files import read_lines, require_file
from mae3d.errors import DataError

CATEGORIES = (
    "Car",
    "Van",
    "Truck",
    "Pedestrian",
    "Person_sitting",
    "Cyclist",
    "Tram",
    "Misc",
    "DontCare",
)
"""What ``box_extra["category"]`` of a KITTI index counts."""

IMAGE_SIZE = (375, 1242)
"""Height and width of most images; used where the image file is absent."""

_HINT = "Copy it again from the original archive."


@dataclass(frozen=True)
class KittiCalibration:
    """How points get into the image.

    Attributes:
        image_from_camera: float64 [3, 4], projection of rectified camera coordinates (P2).
        camera_from_lidar: float64 [4, 4], lidar to rectified camera coordinates (R0_rect Tr_velo_to_cam).
    """

    image_from_camera: np.ndarray
    camera_from_lidar: np.ndarray


def in_image(
    points: np.ndarray, image_from_camera: np.ndarray, camera_from_lidar: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Which lidar points [N, 3+] fall into an image of ``size`` (height, width): bool [N]."""
    matrix = image_from_camera @ camera_from_lidar
    columns = points[:, :3].T.astype(np.float64)
    x, y, depth = (a * columns[0] + b * columns[1] + c * columns[2] + d for a, b, c, d in matrix)
    # Compared before the division, which would need care where the depth is 0.
    return (depth > 0) & (x >= 0) & (x < size[1] * depth) & (y >= 0) & (y < size[0] * depth)


def read_matrices(path: Path) -> dict[str, np.ndarray]:
    """Lines ``NAME: number number ...`` as flat float64 arrays (the colon may be absent, as in tracking files)."""
    matrices = {}
    for line in read_lines(path, _HINT):
        name, *numbers = line.replace(":", " ", 1).split()
        try:
            matrices[name] = np.array(numbers, dtype=np.float64)
        except ValueError as error:
            raise DataError(f"{path}: line {name!r} holds something else than numbers ({error}). {_HINT}") from error
    return matrices


def read_calibration(path: Path) -> KittiCalibration:
    """Calibration file of the object, tracking or odometry benchmark.

    Raises:
        DataError: missing file, or one without P2 and the lidar transform.
    """
    matrices = read_matrices(path)
    projection = _pick(path, matrices, ("P2",), (3, 4))
    lidar = _pick(path, matrices, ("Tr_velo_to_cam", "Tr_velo_cam", "Tr"), (3, 4))
    rectify = np.eye(4)
    if "Tr" not in matrices:  # odometry images are rectified as a whole
        rectify[:3, :3] = _pick(path, matrices, ("R0_rect", "R_rect"), (3, 3))
    return KittiCalibration(projection, rectify @ np.vstack((lidar, (0, 0, 0, 1))))


def _pick(path: Path, matrices: dict[str, np.ndarray], names: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
    for name in names:
        if name in matrices and matrices[name].size == shape[0] * shape[1]:
            return matrices[name].reshape(shape)
    raise DataError(f"{path}: no {' or '.join(names)} of {shape[0]}x{shape[1]} numbers, there are {sorted(matrices)}")


@dataclass(frozen=True)
class KittiLabels:
    """Objects of a label file.

    Attributes:
        category: int64 [N], index into :data:`CATEGORIES`.
        truncation: float64 [N], 0 to 1, share outside of the image (-1: unknown).
        occlusion: int64 [N]: 0 visible, 1 partly, 2 largely, 3 unknown (-1: region that is not labelled).
        alpha: float64 [N], observation angle, radians.
        box_2d: float64 [N, 4], left, top, right, bottom, pixels.
        camera_boxes: float64 [N, 7]: x y z of the bottom centre, h, w, l, rotation_y.
    """

    category: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    alpha: np.ndarray
    box_2d: np.ndarray
    camera_boxes: np.ndarray

    @property
    def difficulty(self) -> np.ndarray:
        """int64 [N]: 0 easy, 1 moderate, 2 hard, -1 none of them."""
        height = self.box_2d[:, 3] - self.box_2d[:, 1] + 1
        level = np.full(len(height), -1)
        for number, (least, occluded, truncated) in reversed(tuple(enumerate(_DIFFICULTIES))):
            fits = (height >= least) & (self.occlusion <= occluded) & (self.truncation <= truncated)
            level[fits] = number
        level[self.category == CATEGORIES.index("DontCare")] = -1
        return level.astype(np.int64)


_DIFFICULTIES = ((40, 0, 0.15), (25, 1, 0.3), (25, 2, 0.5))


def read_labels(path: Path) -> KittiLabels:
    """Objects of ``label_2/NUMBER.txt``; a file without a line is a frame without objects.

    Raises:
        DataError: missing file, unknown category, or a line of another number of columns; names the line.
    """
    if not path.is_file():
        raise DataError(f"{path}: file is missing. {_HINT}")
    names, rows = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        name, *numbers = line.split()
        if name not in CATEGORIES or len(numbers) not in (14, 15):
            raise DataError(
                f"{path}: line {number} must be one of {', '.join(CATEGORIES)} and 14 numbers, got {line[:80]!r}"
            )
        try:
            rows.append([float(text) for text in numbers[:14]])
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}. {_HINT}") from error
        names.append(CATEGORIES.index(name))
    table = np.array(rows, dtype=np.float64).reshape(-1, 14)
    return KittiLabels(
        category=np.array(names, dtype=np.int64),
        truncation=table[:, 0],
        occlusion=table[:, 1].astype(np.int64),
        alpha=table[:, 2],
        box_2d=table[:, 3:7],
        camera_boxes=np.column_stack((table[:, 10:13], table[:, 7:10], table[:, 13])),
    )


def read_png_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG file, from its header alone."""
    require_file(path, _HINT)
    with path.open("rb") as file:
        head = file.read(24)
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        raise DataError(f"{path}: not a PNG file. {_HINT}")
    width, height = struct.unpack(">II", head[16:24])
    return height, width
