"""Reads Waymo's own files: segments of frames, range images in protocol buffers. Needs no TensorFlow.

Field numbers are those of ``dataset.proto`` and ``label.proto`` of the Waymo Open Dataset 1.x. Points of both returns
of all five lidars are computed as its tools do: pixel -> sensor -> vehicle, and for the top lidar, whose pixels are
taken while the vehicle moves, by way of the world to the vehicle at the frame's time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mae3d.datasets.files import require_file
from mae3d.datasets.protobuf import Message, WireError
from mae3d.errors import DataError

LABEL_TYPES = ("unknown", "Vehicle", "Pedestrian", "Sign", "Cyclist")
TOP = 1
_HINT = "Copy it again from the original archive."


@dataclass(frozen=True)
class WaymoFrame:
    """One frame of a segment.

    Attributes:
        context_name: Name of the segment.
        timestamp_micros: Time of the frame.
        pose: float64 [4, 4], world from vehicle.
        points: float32 [N, 6]: x y z in the vehicle's frame, intensity, elongation, no-label zone (1 inside, -1 not).
        points_of_lidar: Points of each of the five lidars, in order of their names.
        names: str [M], out of :data:`LABEL_TYPES`.
        boxes: float64 [M, 9]: x y z l w h yaw vx vy in the vehicle's frame; velocity over ground.
        ids: str [M].
        difficulty: int64 [M], annotated level of detection, 0 where there is none.
        num_points: int64 [M].
    """

    context_name: str
    timestamp_micros: int
    pose: np.ndarray
    points: np.ndarray
    points_of_lidar: list[int]
    names: np.ndarray
    boxes: np.ndarray
    ids: np.ndarray
    difficulty: np.ndarray
    num_points: np.ndarray


def read_segment(path: Path, *, returns: int = 2) -> Iterator[WaymoFrame]:
    """Frames of a segment, in order.

    Args:
        path: ``segment-*.tfrecord``.
        returns: Echoes of each pulse, 1 or 2.

    Raises:
        DataError: a missing, truncated or damaged file; names the frame.
    """
    for number, record in enumerate(read_records(path)):
        try:
            yield _frame(Message(record), returns)
        except (WireError, zlib.error, ValueError, KeyError, struct.error) as error:
            raise DataError(f"{path}: frame {number} is damaged ({type(error).__name__}: {error}). {_HINT}") from error


def read_records(path: Path) -> Iterator[bytes]:
    """Records of a TFRecord file: length, its checksum, data, the data's checksum.

    The length is checked by its checksum; the data are left to whoever decodes them (range images carry their own).

    Raises:
        DataError: a missing or truncated file, or one of another kind.
    """
    require_file(path, _HINT)
    with path.open("rb") as file:
        for number in range(1 << 62):
            head = file.read(12)
            if not head:
                return
            if len(head) < 12 or struct.unpack("<I", head[8:])[0] != _masked_checksum(head[:8]):
                raise DataError(f"{path}: record {number} does not begin as one of a TFRecord file does. {_HINT}")
            (size,) = struct.unpack("<Q", head[:8])
            data = file.read(size)
            if len(data) < size or len(file.read(4)) < 4:
                raise DataError(
                    f"{path}: truncated in record {number}: {size} bytes expected, {len(data)} left. {_HINT}"
                )
            yield data


def _checksum_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _checksum_table()


def _masked_checksum(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord stores it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _frame(frame: Message, returns: int) -> WaymoFrame:
    context = frame.message(1)
    pose = _matrix(frame.message(3))
    calibrations = {lidar.integer(1): lidar for lidar in context.messages(3)}
    lasers = sorted(frame.messages(5), key=lambda laser: laser.integer(1))
    clouds = [_points(laser, calibrations[laser.integer(1)], pose, returns) for laser in lasers]
    return WaymoFrame(
        context_name=context.text(1),
        timestamp_micros=frame.integer(2),
        pose=pose,
        points=np.concatenate(clouds) if clouds else np.zeros((0, 6), dtype=np.float32),
        points_of_lidar=[len(cloud) for cloud in clouds],
        **_labels(frame.messages(6), pose),
    )


def _labels(labels: list[Message], pose: np.ndarray) -> dict[str, np.ndarray]:
    rows = np.zeros((len(labels), 9))
    speed = np.zeros((len(labels), 3))
    for row, (label, moving) in enumerate((label.message(1), label.message(2)) for label in labels):
        rows[row, :7] = [label.double(number) for number in (1, 2, 3, 5, 4, 6, 7)]
        speed[row, :2] = moving.double(1), moving.double(2)
    rows[:, 7:9] = (speed @ pose[:3, :3])[:, :2]  # row vectors: world to vehicle
    return {
        "names": np.array([LABEL_TYPES[label.integer(3)] for label in labels], dtype=np.str_),
        "boxes": rows,
        "ids": np.array([label.text(4) for label in labels], dtype=np.str_),
        "difficulty": np.array([label.integer(5) for label in labels], dtype=np.int64),
        "num_points": np.array([label.integer(7) for label in labels], dtype=np.int64),
    }


def _points(laser: Message, calibration: Message, pose: np.ndarray, returns: int) -> np.ndarray:
    """Points of one lidar, float32 [N, 6]: first returns, then second ones."""
    first = laser.message(2)
    echoes = [_image(laser.message(number).raw(2)) for number in (2, 3)[:returns] if laser.message(number).raw(2)]
    if not echoes:
        return np.zeros((0, 6), dtype=np.float32)
    directions = _directions(calibration, *echoes[0].shape[:2])
    vehicle_from_sensor = _matrix(calibration.message(5))
    world_from_pixel = None
    if laser.integer(1) == TOP and first.raw(4):
        world_from_pixel = _pixel_poses(_image(first.raw(4)))
    parts = []
    for image in echoes:
        hit = image[..., 0] > 0
        points = directions[hit] * image[hit, :1] @ vehicle_from_sensor[:3, :3].T + vehicle_from_sensor[:3, 3]
        if world_from_pixel is not None:
            rotation, translation = (part[hit] for part in world_from_pixel)
            world = np.einsum("nij,nj->ni", rotation, points) + translation
            points = (world - pose[:3, 3]) @ pose[:3, :3]
        parts.append(np.column_stack((points, image[hit, 1:4])).astype(np.float32))
    return np.concatenate(parts)


def _image(compressed: bytes | memoryview) -> np.ndarray:
    """A compressed matrix of floats, float64 [H, W, C]."""
    matrix = Message(zlib.decompress(compressed))
    return matrix.numbers(1, "<f4").reshape(matrix.message(2).integers(1)).astype(np.float64)


def _directions(calibration: Message, height: int, width: int) -> np.ndarray:
    """Unit vectors of the pixels in the sensor's frame, float64 [H, W, 3]; the first row looks highest."""
    inclination = calibration.numbers(2, "<f8")
    if len(inclination) == 0:
        low, high = calibration.double(3), calibration.double(4)
        inclination = (np.arange(height) + 0.5) / height * (high - low) + low
    if len(inclination) != height:
        raise WireError(f"{len(inclination)} beam inclinations for a range image of {height} rows")
    inclination = inclination[::-1, None]
    mount = _matrix(calibration.message(5))
    turn = np.arctan2(mount[1, 0], mount[0, 0])
    azimuth = ((np.arange(width, 0, -1) - 0.5) / width * 2 - 1) * np.pi - turn
    level = np.cos(inclination)
    up = np.broadcast_to(np.sin(inclination), (height, width))
    return np.stack((level * np.cos(azimuth), level * np.sin(azimuth), up), axis=-1)


def _pixel_poses(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World from vehicle at each pixel, from roll pitch yaw x y z: rotations [H, W, 3, 3], translations [H, W, 3]."""
    (sx, sy, sz), (cx, cy, cz) = (wave(np.moveaxis(image[..., :3], -1, 0)) for wave in (np.sin, np.cos))
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2), image[..., 3:]


def _matrix(transform: Message) -> np.ndarray:
    return transform.numbers(1, "<f8").reshape(4, 4)
