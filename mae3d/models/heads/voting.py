"""Test-time voting: several sampled and augmented views of a cloud, their scores averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.registry import MODELS, TRANSFORMS

Transform = Callable[..., dict[str, Any]]


@MODELS.register_module()
class Voting(nn.Module):
    """Mean scores over ``times`` views, the whole repeated ``repeats`` times.

    The published protocol (object-point family, ModelNet40): furthest point samples once, ten times a random part of
    them, scaled and shifted; 299 repeats, of which the best on the test set is printed. That maximum is chosen on the
    test set; :class:`mae3d.evaluation.VotedAccuracy` reports it beside the mean over the repeats.

    Args:
        views: Transforms applied anew for each view, ``(batch, generator) -> batch`` or their configs.
        pool: Transforms applied once before, e.g. furthest point sampling to the pool that views draw from.
        plain: Transforms for the prediction without voting.
        times: Views per vote.
        repeats: Votes.
    """

    def __init__(
        self,
        views: Sequence[Transform | dict],
        *,
        pool: Sequence[Transform | dict] = (),
        plain: Sequence[Transform | dict] = (),
        times: int = 10,
        repeats: int = 1,
    ) -> None:
        super().__init__()
        if times < 1 or repeats < 1:
            raise ConfigError(f"Voting: times and repeats must be at least 1, got {times} and {repeats}")
        self.views = [_build(transform) for transform in views]
        self.pool = [_build(transform) for transform in pool]
        self.plain = [_build(transform) for transform in plain]
        self.times = times
        self.repeats = repeats

    def forward(
        self, scores: Callable[[Tensor], Tensor], points: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Vote scores [B, R, n] of a function from points to scores [B, n]."""
        pooled = _apply(self.pool, points, generator)
        votes = [self._vote(scores, pooled, generator) for _ in range(self.repeats)]
        return torch.stack(votes, dim=1)

    def plain_points(self, points: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The points that the prediction without voting uses."""
        return _apply(self.plain, points, generator)

    def _vote(self, scores: Callable[[Tensor], Tensor], pooled: Tensor, generator: torch.Generator | None) -> Tensor:
        total = scores(_apply(self.views, pooled, generator))
        for _ in range(self.times - 1):
            total = total + scores(_apply(self.views, pooled, generator))
        return total / self.times


def _build(transform: Transform | dict) -> Transform:
    return TRANSFORMS.build(transform) if isinstance(transform, dict) else transform


def _apply(transforms: Sequence[Transform], points: Tensor, generator: torch.Generator | None) -> Tensor:
    batch: dict[str, Any] = {"points": points}
    for transform in transforms:
        batch = transform(batch, generator)
    return batch["points"]
