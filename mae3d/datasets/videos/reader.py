"""Frames of video files, through PyAV."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mae3d.datasets.transforms.image.crop import ResizeShortSide
from mae3d.errors import DataError, MissingExtraError


@dataclass(frozen=True)
class VideoInfo:
    """What a sampler of frames needs to know.

    Attributes:
        frames: Number of frames.
        rate: Frames per second.
    """

    frames: int
    rate: float


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Container and its first video stream; failures of decoding inside become DataErrors that name the file."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video", f"reading {Path(path).name}") from error
    if not Path(path).is_file():
        raise DataError(f"{path}: file is missing. Check the root and the list of the data set.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video stream, only {[s.type for s in container.streams]}")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path}: cannot be decoded ({error}). Replace the file or set on_error="skip".') from error


def _rate(stream: Any, path: Path) -> float:
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if rate <= 0:
        raise DataError(f"{path}: tells no frame rate. Re-encode the file.")
    return rate


def _info(container: Any, stream: Any, path: Path) -> VideoInfo:
    rate = _rate(stream, path)
    seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / 1e6
    frames = stream.frames or round(float(seconds) * rate)
    if not frames:  # neither is written in the header: count
        frames = sum(1 for packet in container.demux(stream) if packet.size)
    return VideoInfo(frames, rate)


def video_info(path: str | Path) -> VideoInfo:
    """Number and rate of the frames of a file.

    Raises:
        MissingExtraError: PyAV is not installed.
        DataError: The file is missing, is no video, or tells neither.
    """
    with opened(Path(path)) as (container, stream):
        return _info(container, stream, Path(path))


def read_frames(
    path: str | Path, indices: Sequence[int], change: Callable[[Image.Image], Image.Image] = lambda frame: frame
) -> list[Image.Image]:
    """Frames as RGB images, in the order of ``indices``, which may repeat.

    Decoding starts at the last key frame before the first one wanted. Frames are numbered by their time stamps. A file
    that ends earlier than its header says gives its last frame in place of those behind the end.

    Args:
        path: Video file.
        indices: Frame numbers from 0.
        change: Applied to each frame when it is decoded, before the next.

    Raises:
        MissingExtraError: PyAV is not installed.
        DataError: The file is missing, cannot be decoded, or ends before the first wanted frame.
    """
    path, wanted = Path(path), set(indices)
    found: dict[int, Image.Image] = {}
    with opened(path) as (container, stream):
        rate = _rate(stream, path)
        start = float((stream.start_time or 0) * stream.time_base)
        first, last = min(wanted), max(wanted)
        if first > 0:
            container.seek(int((start + first / rate) / stream.time_base), stream=stream, backward=True)
        number = -1
        for frame in container.decode(stream):
            number = number + 1 if frame.time is None else round((frame.time - start) * rate)
            if number in wanted and number not in found:
                found[number] = change(frame.to_image())
            elif number > first and not found:  # a gap in the time stamps
                found[first] = change(frame.to_image())
            if number >= last:
                break
    if not found:
        raise DataError(
            f"{path}: frame {first} is wanted, but decoding gave none from there on; the file may be cut off"
        )
    known = sorted(found)
    return [found[max((n for n in known if n <= index), default=known[0])] for index in indices]


@functools.lru_cache(maxsize=64)
def shrunk_frames(path: Path, short_side: int) -> list[Image.Image]:
    """All frames of a video, shrunk to a short side, kept for the next call.

    Raises:
        As :func:`read_frames`.
    """
    shrink = ResizeShortSide(short_side)
    return read_frames(path, range(video_info(path).frames), lambda frame: shrink([frame])[0])
