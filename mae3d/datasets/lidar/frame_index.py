"""The index of a driving data set: which files belong to which frame, where the vehicle was, what was annotated.

Readers of the official files make it once; training reads nothing else but point files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from mae3d.datasets.files import atomic_write, read_npz
from mae3d.errors import DataError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Frame:
    """One frame while an index is made.

    Attributes:
        token: Name that is unique in the data set.
        sequence: Drive that it belongs to.
        file: Point file, relative to the root.
        time: Seconds.
        world_from_sensor: float64 [4, 4].
        sweep_files: Earlier point files, nearest first.
        sensor_from_sweep: float64 [S, 4, 4]: moves the points of each earlier sweep into this frame.
        sweep_lag: float64 [S], seconds before this frame.
        boxes: float64 [N, 9], ``x y z l w h yaw vx vy`` in the sensor frame; velocity NaN where unknown.
        labels: int64 [N], index into the classes of the index, -1 for what is not scored.
        num_points: int64 [N], points inside, -1 where unknown.
        tracks: N names of the annotated objects, equal over time.
        box_extra: name -> N further numbers per box that evaluators need (attribute, occlusion, ...).
        extra: name -> one number, string or array of fixed shape per frame that evaluators need.
    """

    token: str
    sequence: str
    file: str
    time: float
    world_from_sensor: np.ndarray
    sweep_files: Sequence[str] = ()
    sensor_from_sweep: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 4)))
    sweep_lag: np.ndarray = field(default_factory=lambda: np.zeros(0))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 9)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    num_points: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    tracks: Sequence[str] = ()
    box_extra: dict[str, np.ndarray] = field(default_factory=dict)
    extra: dict[str, float | str | np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameIndex:
    """All frames of a split as packed arrays: small to store, shared between workers without copies.

    Attributes:
        dataset: Name of the data set.
        classes: Classes of the benchmark; ``labels`` index into them.
        token, sequence, file: str [F].
        time: float64 [F], seconds.
        world_from_sensor: float64 [F, 4, 4].
        sweep_offsets: int64 [F + 1]; sweeps of frame f are rows ``sweep_offsets[f] : sweep_offsets[f + 1]`` of
            ``sweep_file`` (str), ``sensor_from_sweep`` (float64 [., 4, 4]) and ``sweep_lag`` (float64).
        box_offsets: int64 [F + 1], the same for ``boxes`` (float64 [., 9]), ``labels``, ``num_points`` (int64) and
            ``tracks`` (str).
        box_extra: name -> array [., ...], one entry per box.
        extra: name -> array [F, ...].
    """

    dataset: str
    classes: tuple[str, ...]
    token: np.ndarray
    sequence: np.ndarray
    file: np.ndarray
    time: np.ndarray
    world_from_sensor: np.ndarray
    sweep_offsets: np.ndarray
    sweep_file: np.ndarray
    sensor_from_sweep: np.ndarray
    sweep_lag: np.ndarray
    box_offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    num_points: np.ndarray
    tracks: np.ndarray
    box_extra: dict[str, np.ndarray]
    extra: dict[str, np.ndarray]

    @classmethod
    def from_frames(cls, dataset: str, classes: Sequence[str], frames: Iterable[Frame]) -> FrameIndex:
        """Pack frames in the given order.

        Raises:
            DataError: no frame, a pose that is not a rigid transform, or boxes that are not finite; names the frame.
        """
        frames = list(frames)
        if not frames:
            raise DataError(f"{dataset}: no frame was found")
        for frame in frames:
            _check_frame(dataset, frame)
        offsets = lambda counts: np.cumsum([0, *counts]).astype(np.int64)  # noqa: E731
        return cls(
            dataset=dataset,
            classes=tuple(classes),
            token=np.array([f.token for f in frames]),
            sequence=np.array([f.sequence for f in frames]),
            file=np.array([f.file for f in frames]),
            time=np.array([f.time for f in frames], dtype=np.float64),
            world_from_sensor=np.stack([f.world_from_sensor for f in frames]).astype(np.float64),
            sweep_offsets=offsets(len(f.sweep_files) for f in frames),
            sweep_file=np.array([name for f in frames for name in f.sweep_files], dtype=np.str_),
            sensor_from_sweep=np.concatenate([f.sensor_from_sweep for f in frames]).astype(np.float64),
            sweep_lag=np.concatenate([f.sweep_lag for f in frames]).astype(np.float64),
            box_offsets=offsets(len(f.boxes) for f in frames),
            boxes=np.concatenate([f.boxes for f in frames]).astype(np.float64),
            labels=np.concatenate([f.labels for f in frames]).astype(np.int64),
            num_points=np.concatenate([f.num_points for f in frames]).astype(np.int64),
            tracks=np.array([name for f in frames for name in f.tracks], dtype=np.str_),
            box_extra={key: np.concatenate([f.box_extra[key] for f in frames]) for key in frames[0].box_extra},
            extra={key: np.array([f.extra[key] for f in frames]) for key in frames[0].extra},
        )

    def __len__(self) -> int:
        return len(self.token)

    def frame(self, number: int) -> Frame:
        """Frame ``number`` unpacked."""
        sweeps = slice(*self.sweep_offsets[number : number + 2])
        boxes = slice(*self.box_offsets[number : number + 2])
        return Frame(
            token=str(self.token[number]),
            sequence=str(self.sequence[number]),
            file=str(self.file[number]),
            time=float(self.time[number]),
            world_from_sensor=self.world_from_sensor[number],
            sweep_files=[str(name) for name in self.sweep_file[sweeps]],
            sensor_from_sweep=self.sensor_from_sweep[sweeps],
            sweep_lag=self.sweep_lag[sweeps],
            boxes=self.boxes[boxes],
            labels=self.labels[boxes],
            num_points=self.num_points[boxes],
            tracks=[str(name) for name in self.tracks[boxes]],
            box_extra={key: values[boxes] for key, values in self.box_extra.items()},
            extra={key: _entry(values, number) for key, values in self.extra.items()},
        )

    def select(self, numbers: Sequence[int] | np.ndarray) -> FrameIndex:
        """The index of some frames, in the given order."""
        return FrameIndex.from_frames(self.dataset, self.classes, [self.frame(int(n)) for n in numbers])

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` file atomically; it holds no pickled objects."""
        apart = ("dataset", "classes", "extra", "box_extra")
        arrays = {f"frame.{f.name}": getattr(self, f.name) for f in fields(self) if f.name not in apart}
        for group in ("extra", "box_extra"):
            arrays |= {f"{group}.{key}": values for key, values in getattr(self, group).items()}
        header = {"schema": SCHEMA_VERSION, "dataset": self.dataset, "classes": self.classes}
        with atomic_write(Path(path)) as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> FrameIndex:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: missing or damaged file, or one of another schema version.
        """
        path = Path(path)
        hint = "Make it with tools/prepare_data.py."
        arrays = read_npz(path, hint)
        header = json.loads(str(arrays.pop("header", '{"schema": 0}')))
        if header["schema"] != SCHEMA_VERSION:
            raise DataError(f"{path}: index of schema {header['schema']}, this version reads {SCHEMA_VERSION}. {hint}")
        groups: dict[str, dict[str, np.ndarray]] = {"frame": {}, "extra": {}, "box_extra": {}}
        for key, values in arrays.items():
            group, _, name = key.partition(".")
            groups[group][name] = values
        frame = groups.pop("frame")
        return cls(dataset=header["dataset"], classes=tuple(header["classes"]), **groups, **frame)


def load_or_read(
    root: str | Path, dataset: str, split: str, index_file: str | None, read: Callable[[], FrameIndex]
) -> FrameIndex:
    """The index file of a split where there is one, else what ``read`` makes of the official files.

    Args:
        root: Folder of the data set.
        dataset: Its short name; the file is ``mae3d_<dataset>_<split>.npz`` unless ``index_file`` says otherwise.
        split: Name of the split.
        index_file: Path relative to ``root``; must exist where given.
        read: Makes the index.
    """
    path = index_path(root, dataset, split) if index_file is None else Path(root) / index_file
    return FrameIndex.load(path) if index_file or path.exists() else read()


def index_path(root: str | Path, dataset: str, split: str) -> Path:
    """Where the index of a split is kept."""
    return Path(root) / f"mae3d_{dataset}_{split}.npz"


def _entry(values: np.ndarray, number: int) -> float | str | np.ndarray:
    return values[number].item() if values.ndim == 1 else values[number]


def check_poses(
    poses: np.ndarray,
    where: str | Path,
    names: Sequence[object],
    way_out: str = "Correct it, or leave its frame out.",
) -> None:
    """Refuse poses [F, 4, 4] that are not rigid transforms; ``way_out`` ends the message.

    Raises:
        DataError: Names the first of ``names`` [F] whose pose is not finite, not orthonormal or mirrored.
    """

    def refuse(wrong: np.ndarray, fault: str) -> None:
        if wrong.any():
            name = names[int(wrong.argmax())]
            raise DataError(f"{where}: the pose of {name} is not {fault}. {way_out}")

    refuse(~np.isfinite(poses).all(axis=(1, 2)), "finite")
    rotation = poses[:, :3, :3]
    apart = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    refuse(apart > 1e-3, "rigid: its rotation is not orthonormal")
    refuse(np.linalg.det(rotation) < 0, "rigid: it mirrors, as left-handed axes do")


def _check_frame(dataset: str, frame: Frame) -> None:
    where = f"{dataset}, frame {frame.token}"
    check_poses(frame.world_from_sensor[None], where, ["world_from_sensor"])
    check_poses(frame.sensor_from_sweep, where, [f"sweep {file}" for file in frame.sweep_files])
    if not np.isfinite(frame.boxes[:, :7]).all():
        raise DataError(f"{where}: an annotated box is not finite")
    if not len(frame.boxes) == len(frame.labels) == len(frame.num_points) == len(frame.tracks):
        raise DataError(
            f"{where}: {len(frame.boxes)} boxes, {len(frame.labels)} labels, {len(frame.num_points)} point counts "
            f"and {len(frame.tracks)} track names must agree"
        )
