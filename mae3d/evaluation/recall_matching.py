"""Matching by overlap as in KITTI's evaluator (and ONCE's, made from it): in order of ground truth, at given scores.

All frames of a chunk, and all score thresholds, are matched at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 64


@dataclass(frozen=True)
class FramePairs:
    """Detections and ground truth of one frame that may be matched with each other.

    Attributes:
        overlap: [D, G].
        scores: [D].
        ignored: bool [D]: detections that count neither as true nor as false.
        truth_ignored: bool [G]: objects that need not be found.
    """

    overlap: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray
    truth_ignored: np.ndarray


@dataclass(frozen=True)
class _Chunk:
    """Frames padded to one size."""

    overlap: np.ndarray  # [F, D, G]; -1 where padded
    scores: np.ndarray  # [F, D]
    ignored: np.ndarray  # [F, D]
    free: np.ndarray  # [F, D], real detections
    truth_ignored: np.ndarray  # [F, G]


def _chunks(frames: Sequence[FramePairs]) -> Iterator[_Chunk]:
    some = [frame for frame in frames if len(frame.scores)]
    for begin in range(0, len(some), CHUNK):
        part = some[begin : begin + CHUNK]
        size = (len(part), max(len(f.scores) for f in part), max(len(f.truth_ignored) for f in part))
        overlap, scores = np.full(size, -1.0), np.zeros(size[:2])
        ignored, free, truth = (np.zeros(shape, dtype=bool) for shape in (size[:2], size[:2], size[::2]))
        for row, frame in enumerate(part):
            found, objects = frame.overlap.shape
            overlap[row, :found, :objects] = frame.overlap
            scores[row, :found] = frame.scores
            ignored[row, :found] = frame.ignored
            free[row, :found] = True
            truth[row, :objects] = frame.truth_ignored
        yield _Chunk(overlap, scores, ignored, free, truth)


def matched_scores(frames: Sequence[FramePairs], min_overlap: float) -> np.ndarray:
    """Scores of true detections when every object takes the best-scored free detection that overlaps it enough."""
    found = [np.zeros(0)]
    for chunk in _chunks(frames):
        free, rows = chunk.free.copy(), np.arange(len(chunk.scores))
        for g in range(chunk.overlap.shape[2]):
            value = np.where(free & (chunk.overlap[:, :, g] > min_overlap), chunk.scores, -np.inf)
            best = value.argmax(axis=1)
            hit = value[rows, best] > -np.inf
            free[rows[hit], best[hit]] = False
            counts = hit & ~chunk.truth_ignored[:, g] & ~chunk.ignored[rows, best]
            found.append(chunk.scores[rows, best][counts])
    return np.concatenate(found)


def true_and_false(
    frames: Sequence[FramePairs], min_overlap: float, thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """True and false detections with a score of at least each threshold, int64 [T] each.

    Every object takes the free detection that overlaps it most; one that is ignored only where no other overlaps it
    enough. Detections that an ignored object takes are not counted.
    """
    cuts = np.asarray(thresholds, dtype=np.float64)
    true, false = np.zeros(len(cuts), dtype=np.int64), np.zeros(len(cuts), dtype=np.int64)
    for chunk in _chunks(frames):
        free = chunk.free[:, None] & (chunk.scores[:, None] >= cuts[:, None])  # [F, T, D]
        rank = np.where(chunk.ignored[..., None], 0.5, 1 + chunk.overlap)
        rank = np.where(chunk.overlap > min_overlap, rank, 0.0)  # [F, D, G]
        for g in range(chunk.overlap.shape[2]):
            value = free * rank[:, None, :, g]
            best = value.argmax(axis=2)[..., None]  # [F, T, 1]
            hit = np.take_along_axis(value, best, axis=2) > 0
            chosen_ignored = np.take_along_axis(np.broadcast_to(chunk.ignored[:, None], free.shape), best, axis=2)
            np.put_along_axis(free, best, np.take_along_axis(free, best, axis=2) & ~hit, axis=2)
            true += (hit & ~chosen_ignored & ~chunk.truth_ignored[:, None, None, g])[..., 0].sum(axis=0)
        false += (free & ~chunk.ignored[:, None]).sum(axis=(0, 2))
    return true, false


def interpolated_precision(true: np.ndarray, false: np.ndarray, slots: int) -> np.ndarray:
    """Precision at each threshold made non-increasing from the right, padded with 0 to ``slots``."""
    precision = np.zeros(slots)
    counted = true + false
    precision[: len(true)] = np.divide(true, counted, out=np.zeros(len(true)), where=counted > 0)
    return np.maximum.accumulate(precision[::-1])[::-1]
