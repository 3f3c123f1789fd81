"""Which frames of a video make a clip. A sampler is called with a VideoInfo and a generator (None: no randomness)."""

from __future__ import annotations

import numpy as np

from mae3d.datasets.videos.reader import VideoInfo
from mae3d.errors import ConfigError
from mae3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DenseClip:
    """``length`` frames ``step`` apart from a random start (VideoMAE's pre-training; 16 x 4 on Kinetics).

    A video that is too short repeats the last frame it reaches. Without randomness ``views`` starts are spread evenly.

    Args:
        length: Frames of a clip.
        step: Distance of two of them.
        views: Clips per video where nothing is random.
        part: (from, to) of the video, as shares of its length, that clips are cut from.
    """

    def __init__(self, length: int = 16, step: int = 4, views: int = 1, part: tuple[float, float] = (0.0, 1.0)) -> None:
        if min(length, step, views) < 1:
            raise ConfigError(f"DenseClip: length, step and views must be positive, got {length}, {step}, {views}")
        if not 0 <= part[0] < part[1] <= 1:
            raise ConfigError(f"DenseClip: part must be (from, to) with 0 <= from < to <= 1, got {part}")
        self.length, self.step, self.views, self.part = length, step, views, part

    def __call__(self, info: VideoInfo, generator: np.random.Generator | None = None) -> list[list[int]]:
        """Frame numbers of each view."""
        first, end = (round(share * info.frames) for share in self.part)
        room = max(end - first - self.length * self.step, 0)
        if generator is not None:
            starts = [first + int(generator.integers(room + 1))]
        else:
            places = np.linspace(0, room, self.views) if self.views > 1 else [room / 2]
            starts = [first + int(place) for place in places]
        most = [(end - 1 - start) // self.step for start in starts]  # steps before the part ends
        return [[start + min(i, end) * self.step for i in range(self.length)] for start, end in zip(starts, most)]


@TRANSFORMS.register_module()
class SecondsClip:
    """A stretch of fixed duration at a random place (MAE-ST; 16 frames, every 4th at 30 frames per second).

    The stretch has ``length * step / target_rate`` seconds; its frames are ``linspace`` over it, rounded down.

    Args:
        length: Frames of a clip.
        step: Distance of two of them at ``target_rate``.
        target_rate: Frames per second that ``step`` counts in.
        views: Clips per video where nothing is random.
    """

    def __init__(self, length: int = 16, step: int = 4, target_rate: float = 30.0, views: int = 1) -> None:
        if min(length, step, views) < 1 or target_rate <= 0:
            raise ConfigError(f"SecondsClip: all of {length}, {step}, {target_rate}, {views} must be positive")
        self.length, self.step, self.target_rate, self.views = length, step, target_rate, views

    def __call__(self, info: VideoInfo, generator: np.random.Generator | None = None) -> list[list[int]]:
        """Frame numbers of each view."""
        span = self.step * self.length / self.target_rate * info.rate
        room = max(info.frames - span, 0.0)
        if generator is not None:
            starts = [generator.uniform(0, room)]
        else:
            starts = list(np.linspace(0, room, self.views)) if self.views > 1 else [room / 2]
        last = info.frames - 1
        clips = [np.linspace(start, start + span - 1, self.length) for start in starts]
        return [np.clip(clip, 0, last).astype(int).tolist() for clip in clips]


@TRANSFORMS.register_module()
class UniformSegments:
    """One frame of each of ``length`` equal parts of the whole video (Something-Something).

    Args:
        length: Frames of a clip.
        views: Clips per video where nothing is random; they lie side by side inside each part.
    """

    def __init__(self, length: int = 16, views: int = 1) -> None:
        if min(length, views) < 1:
            raise ConfigError(f"UniformSegments: length and views must be positive, got {length} and {views}")
        self.length, self.views = length, views

    def __call__(self, info: VideoInfo, generator: np.random.Generator | None = None) -> list[list[int]]:
        """Frame numbers of each view."""
        part, last = info.frames / self.length, info.frames - 1
        if generator is not None:
            places = [generator.random(self.length)]
        else:
            places = [np.full(self.length, (view + 0.5) / self.views) for view in range(self.views)]
        return [np.minimum((np.arange(self.length) + place) * part, last).astype(int).tolist() for place in places]
