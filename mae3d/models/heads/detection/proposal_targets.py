"""What a second stage learns from: a mixture of good and bad proposals, each with the object that it overlaps most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.errors import ConfigError
from mae3d.ops.box_iou import box_iou_3d


class ProposalMatch(NamedTuple):
    """Proposals of one sample beside the objects of their class."""

    overlap: Tensor
    """[M], highest IoU in 3D with an object of the same class, 0 where there is none."""
    object: Tensor
    """int64 [M], that object; 0 where there is none."""


def match_proposals(boxes: Tensor, labels: Tensor, objects: Tensor, object_labels: Tensor) -> ProposalMatch:
    """Match proposals to the objects of their class.

    Args:
        boxes: [M, 7].
        labels: int64 [M].
        objects: [N, 7].
        object_labels: int64 [N].
    """
    if not len(objects) or not len(boxes):
        return ProposalMatch(boxes.new_zeros(len(boxes)), labels.new_zeros(len(boxes)))
    overlap = box_iou_3d(boxes.contiguous(), objects.contiguous())
    return ProposalMatch(*overlap.where(labels[:, None] == object_labels, 0).max(dim=1))


@dataclass(frozen=True)
class ProposalSampler:
    """Draws the proposals of a sample.

    Up to ``foreground`` of them overlap an object by ``positive`` or more, each at most once; the rest, drawn with
    replacement, do not: ``hard`` of those overlap one by ``easy`` or more. Where a kind is missing the others fill up.

    Attributes:
        count: Proposals of a sample that has any; at least 2, for BatchNorm takes no single one.
        foreground: Share of good ones at most.
        positive: IoU from which a proposal is good.
        easy: IoU below which a bad one is easy.
        hard: Share of hard ones among the bad.

    Raises:
        ConfigError: Fewer than 2 proposals, shares outside [0, 1], or thresholds that do not rise.
    """

    count: int = 128
    foreground: float = 0.5
    positive: float = 0.55
    easy: float = 0.1
    hard: float = 0.8

    def __post_init__(self) -> None:
        shares = self.foreground, self.hard
        if self.count < 2 or min(shares) < 0 or max(shares) > 1 or not 0 <= self.easy <= self.positive <= 1:
            raise ConfigError(
                "ProposalSampler: count must be at least 2, foreground and hard in [0, 1], 0 <= easy <= positive <= 1; "
                f"got {self}"
            )

    def __call__(self, overlap: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Rows int64 [count] of the drawn proposals, good ones first; [0] where there is no proposal.

        Args:
            overlap: [M], see :class:`ProposalMatch`.
            generator: Source of the draws; None: the global one of the device.
        """
        good = (overlap >= self.positive).nonzero().squeeze(1)
        hard = ((overlap < self.positive) & (overlap >= self.easy)).nonzero().squeeze(1)
        easy = (overlap < self.easy).nonzero().squeeze(1)
        if not len(overlap):
            return good
        draw = lambda rows, number: rows[  # noqa: E731
            torch.randint(len(rows), (number,), generator=generator, device=rows.device)
        ]
        if not len(hard) and not len(easy):
            return draw(good, self.count)
        order = torch.randperm(len(good), generator=generator, device=good.device)
        good = good[order[: round(self.foreground * self.count)]]
        bad = self.count - len(good)
        number = 0 if not len(hard) else bad if not len(easy) else min(int(bad * self.hard), len(hard))
        parts = [draw(rows, size) for rows, size in ((hard, number), (easy, bad - number)) if size]
        return torch.cat((good, *parts))


def score_target(overlap: Tensor, low: float = 0.25, high: float = 0.75) -> Tensor:
    """What the score of a proposal must be: 0 up to an IoU of ``low``, 1 from ``high``, linear between."""
    return ((overlap - low) / (high - low)).clamp(0, 1)
