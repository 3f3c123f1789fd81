"""Clips of video files that a list or a folder names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.files import read_lines
from mae3d.datasets.images.base import build_transforms
from mae3d.datasets.transforms.image.frames import FrameTransform, to_tensor
from mae3d.datasets.videos.reader import read_frames, shrunk_frames, video_info
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS, TRANSFORMS

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov")
HINT = "Expected one video a line: PATH LABEL, separated by blanks or commas (PATH alone for pre-training)."


@DATASETS.register_module()
class VideoDataset(SampleDataset):
    """One clip of each video; a sample is ``{"video": uint8 [3, frames, rows, columns], "index", "label"}``.

    Args:
        root: Folder that the list's paths start from; without a list, a folder CLASS/NAME.mp4 (or NAME.mp4), or one
            video file.
        annotation: List of videos as VideoMAE, PySlowFast and mmaction2 write it: path and label a line; None takes
            every video under ``root``.
        sampler: Which frames make a clip: config or callable, see :mod:`mae3d.datasets.videos.sampling`.
        transforms: Applied to the frames of a clip, see :class:`mae3d.datasets.images.ImageDataset`.
        training: Clips at random places; otherwise the sampler's evenly spread ones. With several of those, or
            transforms that make several crops of one, ``video`` has one more axis: [views, 3, frames, rows, columns].
        clips_per_video: How often each video occurs in an epoch, with draws of its own each time.
        repeats: Clips per sample in training, each with its own place and crop, from one decoding
            (:class:`FoldViews` takes them apart): the repeated augmentation of MAE-ST.
        preload: Short side to which the frames of a video are shrunk once and then kept in memory, for a few short
            videos; None decodes every clip anew.
        seed, on_error: See :class:`mae3d.datasets.base.SampleDataset`.

    Raises:
        DataError: The list or folder is missing, empty or malformed.
    """

    def __init__(
        self,
        root: str | Path,
        annotation: str | Path | None = None,
        sampler: dict | Any = None,
        transforms: Sequence[dict | FrameTransform] = (),
        *,
        training: bool = True,
        clips_per_video: int = 1,
        repeats: int = 1,
        preload: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if min(clips_per_video, repeats) < 1:
            raise ConfigError(
                f"VideoDataset: clips_per_video and repeats, got {clips_per_video} and {repeats}, below 1"
            )
        self.root = Path(root)
        self.sampler = TRANSFORMS.build(sampler or {"type": "DenseClip"}) if not callable(sampler) else sampler
        self.transforms = build_transforms(transforms)
        self.preload = preload
        self.training, self.clips_per_video, self.repeats = training, clips_per_video, repeats
        self.paths, self.labels = self._read_list(Path(annotation)) if annotation else self._list_folder()
        self.prepare_skipping()

    def _read_list(self, annotation: Path) -> tuple[list[Path], list[int | None]]:
        paths, labels = [], []
        for number, line in enumerate(read_lines(annotation, HINT), start=1):
            separator = "," if "," in line else None
            first, *rest = (part.strip() for part in line.rsplit(separator, 1))
            if rest and not rest[0].lstrip("-").isdigit():
                raise DataError(f"{annotation}:{number}: label {rest[0]!r} is no integer. {HINT}")
            paths.append(self.root / first)
            labels.append(int(rest[0]) if rest else None)
        return paths, labels

    def _list_folder(self) -> tuple[list[Path], list[int | None]]:
        if self.root.is_file():
            return [self.root], [None]
        paths = sorted(path for path in self.root.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(
                f"{self.root}: no video ({', '.join(SUFFIXES)}) there. Expected CLASS/NAME.mp4 or NAME.mp4."
            )
        names = [path.relative_to(self.root).parts[0] if path.parent != self.root else None for path in paths]
        self.classes = tuple(sorted({name for name in names if name}))
        return paths, [self.classes.index(name) if name else None for name in names]

    def __len__(self) -> int:
        return len(self.paths) * self.clips_per_video

    def sample_name(self, index: int) -> str:
        """Path of the video."""
        return str(self.paths[int(index) % len(self.paths)])

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``: decoded and transformed."""
        place = int(index) % len(self.paths)
        path, generator = self.paths[place], self.random_generator(index)
        views = self._clips(path, generator)
        sample = {
            "video": views[0] if len(views) == 1 and self.repeats == 1 else torch.stack(views),
            "index": torch.tensor(int(index), dtype=torch.int64),
        }
        if self.labels[place] is not None:
            sample["label"] = torch.tensor(self.labels[place], dtype=torch.int64)
        return sample

    def _clips(self, path: Path, generator: np.random.Generator) -> list[torch.Tensor]:
        """Every view of a video, uint8 [3, frames, rows, columns]."""
        info = video_info(path)
        if self.training:
            wanted = [clip for _ in range(self.repeats) for clip in self.sampler(info, generator)]
        else:
            wanted = self.sampler(info)
        distinct = sorted({index for clip in wanted for index in clip})
        if self.preload is None:
            decoded = dict(zip(distinct, read_frames(path, distinct)))
        else:
            decoded = shrunk_frames(path, self.preload)
        views = []
        for clip in wanted:
            frames = [decoded[index] for index in clip]
            for transform in self.transforms:
                frames = transform(frames, generator)
            views += [to_tensor(frames[at : at + len(clip)]) for at in range(0, len(frames), len(clip))]
        return views
