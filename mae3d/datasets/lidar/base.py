"""What all driving data sets share: sweeps moved together, boxes, transforms, packed batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.point_files import check_points
from mae3d.datasets.lidar.previous_frame import PreviousFrame
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS


class LidarDataset(SampleDataset):
    """Frames of a :class:`FrameIndex` with their points.

    A sample holds ``points`` float32 [N, C] (x y z, the columns of ``features``, then ``lag`` in seconds where sweeps
    are used; frame: x ahead, y left, z up at the sensor, metres), ``boxes`` float32 [M, 9], ``box_labels`` int64 [M],
    ``box_points`` int64 [M], ``world_from_sensor`` float64 [4, 4] and ``index``; with ``previous`` also
    ``previous_points`` float32 [N', C], an earlier frame moved into this one.

    Args:
        root: Folder of the data set.
        index: The frames.
        sweeps: Point files of a sample: 1 is the frame alone, n adds the n - 1 sweeps before it.
        sweep_order: "nearest" takes the latest of the indexed sweeps; "random" draws anew each time, without
            replacement, as OpenPCDet does (no difference where all are taken).
        features: Columns to keep after x y z, out of ``columns``.
        remove_close: Points within this many metres of the sensor in both x and y are dropped, None keeps all.
        close_in: "all" drops such points from the frame too, "sweeps" from earlier sweeps alone, as OpenPCDet does.
        pad_empty_sweeps: Where a frame has no earlier sweep, repeat the frame itself in their place with lag 0, as
            mmdet3d's loader does for Voxel-MAE; otherwise it stands alone.
        lag: Append the age of each point in seconds; default: when ``sweeps`` > 1.
        previous: Which earlier frame comes with each, a :class:`PreviousFrame` or its arguments; needs poses and
            ``sweeps`` 1.
        transforms: Callables ``(sample, numpy Generator) -> sample``, or their configs.
        **options: ``seed`` and ``on_error`` of :class:`SampleDataset`.
    """

    columns: tuple[str, ...] = ("intensity",)
    """Names of the columns after x y z that :meth:`read_points` returns."""

    def __init__(
        self,
        root: str | Path,
        index: FrameIndex,
        *,
        sweeps: int = 1,
        sweep_order: Literal["nearest", "random"] = "nearest",
        features: Sequence[str] | None = None,
        remove_close: float | None = None,
        close_in: Literal["all", "sweeps"] = "all",
        pad_empty_sweeps: bool = False,
        lag: bool | None = None,
        previous: PreviousFrame | dict[str, Any] | None = None,
        transforms: Sequence[Any] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if sweeps < 1:
            raise ConfigError(f"{type(self).__name__}: sweeps must be at least 1, got {sweeps}")
        for option, value, allowed in (
            ("sweep_order", sweep_order, ("nearest", "random")),
            ("close_in", close_in, ("all", "sweeps")),
        ):
            if value not in allowed:
                raise ConfigError(f"{type(self).__name__}: {option} must be one of {allowed}, got {value!r}")
        features = self.columns if features is None else tuple(features)
        unknown = [name for name in features if name not in self.columns]
        if unknown:
            raise ConfigError(f"{type(self).__name__}: no features {unknown}, the files hold {list(self.columns)}")
        self.previous = PreviousFrame(**previous) if isinstance(previous, dict) else previous
        if self.previous is not None:
            if sweeps > 1:
                raise ConfigError(f"{type(self).__name__}: previous needs sweeps=1, got {sweeps}")
            index = self.previous.usable(index, Path(root))
        self.root = Path(root)
        self.frames = index
        self.classes = index.classes
        self.sweeps = sweeps
        self.sweep_order = sweep_order
        self.feature_columns = [3 + self.columns.index(name) for name in features]
        self.remove_close = remove_close
        self.close_in = close_in
        self.pad_empty_sweeps = pad_empty_sweeps
        self.lag = sweeps > 1 if lag is None else lag
        self.transforms = build_transforms(transforms)
        self.prepare_skipping()

    @abstractmethod
    def read_points(self, path: Path) -> np.ndarray:
        """Rows of a point file, float32 [N, 3 + len(columns)], in our axes (x ahead, y left, z up)."""

    def __len__(self) -> int:
        return len(self.frames)

    def sample_name(self, index: int) -> str:
        """Point file of the frame."""
        return str(self.root / str(self.frames.file[index]))

    def load(self, index: int) -> dict[str, Any]:
        """Frame ``index`` with its sweeps, transformed."""
        frame, generator = self.frames.frame(index), self.random_generator(index)
        points = self.gather_points(frame, generator)
        if len(points) == 0:
            raise DataError(f"{self.root / frame.file}: no point is farther than {self.remove_close} m from the sensor")
        sample: dict[str, Any] = {"points": torch.from_numpy(points)}
        if self.previous is not None:
            sample["previous_points"] = torch.from_numpy(self.gather_previous(frame, generator))
        sample |= {
            "boxes": torch.from_numpy(frame.boxes.astype(np.float32)),
            "box_labels": torch.from_numpy(frame.labels.copy()),
            "box_points": torch.from_numpy(frame.num_points.copy()),
            "world_from_sensor": torch.from_numpy(frame.world_from_sensor.copy()),
            "index": index,
        }
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample

    def gather_points(self, frame: Frame, generator: np.random.Generator) -> np.ndarray:
        """Points of a frame and its sweeps, float32 [N, C]."""
        parts = [(self._read(frame.file, self.close_in == "all"), 0.0, None)]
        for number in self._choose_sweeps(len(frame.sweep_files), generator):
            rows = self._read(frame.sweep_files[number], True)
            parts.append((rows, frame.sweep_lag[number], frame.sensor_from_sweep[number]))
        if self.pad_empty_sweeps and not frame.sweep_files:
            parts *= self.sweeps
        return self._join(parts)

    def gather_previous(self, frame: Frame, generator: np.random.Generator) -> np.ndarray:
        """Points of the frame before, moved into ``frame``, float32 [N', C]."""
        number = self.previous.choose(len(frame.sweep_files), generator)
        if number is None:
            return self._join([(self._read(frame.file, True), 0.0, None)])
        file = frame.sweep_files[number]
        points = self._join([(self._read(file, True), frame.sweep_lag[number], frame.sensor_from_sweep[number])])
        if len(points) == 0:
            raise DataError(f"{self.root / file}: no point is farther than {self.remove_close} m from the sensor")
        return points

    def _join(self, parts: Sequence[tuple[np.ndarray, float, np.ndarray | None]]) -> np.ndarray:
        """Rows of files, their age and the matrix that moves them into the frame -> float32 [N, C]."""
        features = len(self.feature_columns)
        width = 3 + features + self.lag
        gathered = np.empty((sum(len(rows) for rows, _, _ in parts), width), dtype=np.float32)
        begin = 0
        for rows, lag, matrix in parts:
            target = gathered[begin : begin + len(rows)]
            if matrix is None:
                target[:, :3] = rows[:, :3]
            else:
                move_points(rows, matrix, target)
            for place, column in enumerate(self.feature_columns, start=3):
                target[:, place] = rows[:, column]
            target[:, 3 + features :] = lag
            begin += len(rows)
        return gathered

    def _choose_sweeps(self, there: int, generator: np.random.Generator) -> Sequence[int]:
        wanted = min(self.sweeps - 1, there)
        if self.sweep_order == "random" and 0 < wanted < there:
            return generator.choice(there, wanted, replace=False).tolist()
        return range(wanted)

    def _read(self, file: str, without_close: bool) -> np.ndarray:
        """Checked rows of a point file, without those close to the sensor."""
        path = self.root / file
        points = check_points(self.read_points(path), path)
        if self.remove_close is None or not without_close:
            return points
        limit = np.float32(self.remove_close)
        close = (np.abs(points[:, 0]) < limit) & (np.abs(points[:, 1]) < limit)
        return points.take(np.flatnonzero(~close), axis=0) if close.any() else points


def move_points(rows: np.ndarray, matrix: np.ndarray, target: np.ndarray) -> None:
    """Write coordinates of ``rows`` [N, 3+] in another frame to ``target`` [N, 3+], which may be ``rows`` itself.

    A column at a time: faster than a product with 3 x 3 numbers.
    """
    x, y, z = rows[:, :3].T.copy()
    term = np.empty_like(x)
    for place, (a, b, c, d) in enumerate(matrix[:3].astype(np.float32)):
        total = x * a
        total += np.multiply(y, b, out=term)
        total += np.multiply(z, c, out=term)
        np.add(total, d, out=target[:, place])


def build_transforms(transforms: Sequence[Any]) -> list[Any]:
    """Callables as they are; configs built from the TRANSFORMS registry."""
    return [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms]


def collate_packed(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch of driving samples without padding.

    Returns:
        ``points`` [T, C] and ``offsets`` int64 [B + 1]; ``boxes`` [K, 9], ``box_labels`` [K], ``box_points`` [K] and
        ``box_offsets`` [B + 1]; ``world_from_sensor`` [B, 4, 4]; ``index`` [B]; of samples with an earlier frame also
        ``previous_points`` [T', C] and ``previous_offsets`` [B + 1].
    """
    batch: dict[str, Any] = {}
    packed = [("points", "offsets"), ("boxes", "box_offsets")]
    if "previous_points" in samples[0]:
        packed.append(("previous_points", "previous_offsets"))
    for name, offsets in packed:
        values = [sample[name] for sample in samples]
        batch[name] = torch.cat(values)
        batch[offsets] = _offsets(values)
    for name in ("box_labels", "box_points"):
        batch[name] = torch.cat([sample[name] for sample in samples])
    batch["world_from_sensor"] = torch.stack([sample["world_from_sensor"] for sample in samples])
    batch["index"] = torch.tensor([sample["index"] for sample in samples])
    return batch


def _offsets(values: Sequence[Tensor]) -> Tensor:
    return torch.tensor([0, *(len(value) for value in values)]).cumsum(0)
