"""Anchor-based detection head of SECOND and of SST on nuScenes.

Source: SECOND (Yan et al. 2018) in the form of OpenPCDet (``AnchorHeadSingle``) and mmdet3d (``Anchor3DHead``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.heads.detection.anchors import Anchor, match_anchors, nearest_bev_iou, place_anchors
from mae3d.models.heads.detection.box_coders import decode_residual, encode_residual
from mae3d.models.heads.detection.losses import known_l1, sigmoid_focal_loss, smooth_l1
from mae3d.models.heads.detection.suppression import Suppression
from mae3d.registry import MODELS


class AnchorTargets(NamedTuple):
    """What the anchors of one sample must predict."""

    labels: Tensor
    """int64 [A]: class, -1 background, -2 ignored."""
    codes: Tensor
    """[A, 7 or 9], see :func:`encode_residual`; 0 where there is no object."""
    directions: Tensor
    """int64 [A]: bin of the yaw; 0 where there is no object."""


class AnchorMaps(NamedTuple):
    """Output of the network, anchors in the order of the map: rows, columns, sizes, rotations."""

    scores: Tensor
    """float32 [B, A, classes] before the sigmoid."""
    codes: Tensor
    """float32 [B, A, 7 or 9]."""
    directions: Tensor
    """float32 [B, A, bins] before the softmax."""
    shape: tuple[int, int]
    """(H, W)."""


@MODELS.register_module()
class AnchorHead(nn.Module):
    """Scores, codes and directions of anchors by 1x1 convolutions.

    Args:
        in_channels: Of the bird's-eye map.
        classes: Names; labels index into them.
        anchors: Arguments of each :class:`Anchor`.
        area: (x_min, y_min, x_max, y_max) of anchor centres, see :func:`place_anchors`.
        rotations: Yaws of each size, radians.
        velocity: Regress velocity: boxes have nine numbers.
        velocity_weight: Of velocity in the box loss.
        weights: Of the losses of class, box and direction.
        normalize: What the losses are divided by: "sample", the positive anchors of each sample, then the mean over
            samples (OpenPCDet); "batch", the positive anchors of the batch (mmdet3d).
        forced: See :func:`match_anchors`.
        direction_bins: Bins of the yaw.
        direction_offset: Where the first bin begins, radians.
        score_threshold: Detections need more.
        suppression: Arguments of :class:`Suppression`.

    Raises:
        ConfigError: An anchor of an unknown class, or an unknown normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        classes: Sequence[str],
        anchors: Sequence[dict],
        area: Sequence[float],
        *,
        rotations: Sequence[float] = (0.0, 1.57),
        velocity: bool = False,
        velocity_weight: float = 0.2,
        weights: Sequence[float] = (1.0, 2.0, 0.2),
        normalize: Literal["sample", "batch"] = "sample",
        forced: float = 0.0,
        direction_bins: int = 2,
        direction_offset: float = math.pi / 4,
        score_threshold: float = 0.1,
        suppression: dict | None = None,
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.anchors = [Anchor(**anchor) for anchor in anchors]
        unknown = [a.label for a in self.anchors if a.label is not None and a.label not in self.classes]
        if unknown or normalize not in ("sample", "batch"):
            raise ConfigError(
                f'AnchorHead: normalize={normalize!r} must be "sample" or "batch", and anchors may stand for '
                f"{list(self.classes)}, not for {unknown}"
            )
        self.area, self.rotations = tuple(area), tuple(rotations)
        self.code_size = 9 if velocity else 7
        self.velocity_weight, self.weights, self.normalize, self.forced = velocity_weight, weights, normalize, forced
        self.direction_bins, self.direction_offset = direction_bins, direction_offset
        self.score_threshold = score_threshold
        self.suppression = Suppression(**(suppression or {}))
        count = len(self.anchors) * len(self.rotations)
        self.conv_cls = nn.Conv2d(in_channels, count * len(self.classes), 1)
        self.conv_box = nn.Conv2d(in_channels, count * self.code_size, 1)
        self.conv_dir_cls = nn.Conv2d(in_channels, count * direction_bins, 1)
        nn.init.constant_(self.conv_cls.bias, -math.log(99))  # every anchor begins at a probability of 0.01
        nn.init.normal_(self.conv_box.weight, std=0.001)

    def forward(self, bev: Tensor) -> AnchorMaps:
        """[B, C, H, W] -> predictions of all anchors."""
        flat = lambda maps, size: maps.float().permute(0, 2, 3, 1).reshape(len(maps), -1, size)  # noqa: E731
        return AnchorMaps(
            flat(self.conv_cls(bev), len(self.classes)),
            flat(self.conv_box(bev), self.code_size),
            flat(self.conv_dir_cls(bev), self.direction_bins),
            (bev.shape[2], bev.shape[3]),
        )

    def place(self, shape: tuple[int, int], device: torch.device) -> Tensor:
        """Anchors [A, 7 or 9] of a map (H, W), velocity 0."""
        anchors = place_anchors(self.anchors, self.rotations, self.area, *shape).reshape(-1, 7).to(device)
        return F.pad(anchors, (0, self.code_size - 7))

    def targets(self, anchors: Tensor, boxes: Tensor, labels: Tensor) -> AnchorTargets:
        """What the anchors [A, 7 or 9] of one sample with ``boxes`` [M, 7 or 9] must predict."""
        known = (labels >= 0) & (labels < len(self.classes))
        boxes, labels = boxes[known, : self.code_size].float(), labels[known]
        match = self._match(anchors, boxes, labels)
        positive = match >= 0
        target_labels = match.clone()
        target_labels[positive] = labels[match[positive]]
        codes = torch.zeros_like(anchors)
        directions = torch.zeros_like(match)
        codes[positive] = encode_residual(boxes[match[positive]], anchors[positive])
        turn = torch.remainder(boxes[match[positive], 6] - self.direction_offset, 2 * math.pi)
        bins = (turn / (2 * math.pi / self.direction_bins)).long()
        directions[positive] = bins.clamp(max=self.direction_bins - 1)
        return AnchorTargets(target_labels, codes, directions)

    def _match(self, anchors: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Object of each anchor: sizes of one class are matched with its objects, sizes of any class with all."""
        kinds: dict[tuple, list[int]] = {}
        for number, anchor in enumerate(self.anchors):
            kinds.setdefault((anchor.label, anchor.positive, anchor.negative), []).append(number)
        size = torch.arange(len(anchors), device=anchors.device) // len(self.rotations) % len(self.anchors)
        match = torch.empty(len(anchors), dtype=torch.int64, device=anchors.device)
        for (name, positive, negative), numbers in kinds.items():
            rows = torch.isin(size, size.new_tensor(numbers)).nonzero().squeeze(1)
            wanted = labels >= 0 if name is None else labels == self.classes.index(name)
            columns = wanted.nonzero().squeeze(1)
            iou = nearest_bev_iou(anchors[rows, :7], boxes[columns, :7])
            found = match_anchors(iou, positive, negative, self.forced)
            if len(columns):
                found = torch.where(found >= 0, columns[found.clamp(min=0)], found)
            match[rows] = found
        return match

    def loss(self, maps: AnchorMaps, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """``loss_class``, ``loss_box`` and ``loss_direction``.

        Args:
            maps: Of :meth:`forward`.
            boxes: Of each sample, [M, 7 or 9].
            labels: Of each sample, int64 [M].
        """
        anchors = self.place(maps.shape, maps.scores.device)
        samples = [self.targets(anchors, box, label) for box, label in zip(boxes, labels)]
        target = AnchorTargets(*(torch.stack(values) for values in zip(*samples)))
        share = self._share(target.labels)  # [B, 1], what one anchor counts
        one_hot = F.one_hot(target.labels.clamp(min=-1) + 1, len(self.classes) + 1)[..., 1:].to(maps.scores.dtype)
        focal = sigmoid_focal_loss(maps.scores, one_hot).sum(dim=-1)
        positive = target.labels >= 0
        direction = F.cross_entropy(maps.directions.transpose(1, 2), target.directions, reduction="none")
        parts = (
            focal * (target.labels > -2),
            self._box_loss(maps.codes, target.codes) * positive,
            direction * positive,
        )
        names = ("loss_class", "loss_box", "loss_direction")
        return {name: weight * (part * share).sum() for name, weight, part in zip(names, self.weights, parts)}

    def _share(self, labels: Tensor) -> Tensor:
        positives = (labels >= 0).sum(dim=1, keepdim=True)
        if self.normalize == "batch":
            return (1 / positives.sum().clamp(min=1)).expand(len(labels), 1)
        return 1 / positives.clamp(min=1) / len(labels)

    def _box_loss(self, codes: Tensor, target: Tensor) -> Tensor:
        """[B, A]. The yaw enters as sin(prediction - target), so that opposite headings are equal here."""
        turn = (codes[..., 6:7] - target[..., 6:7]).sin()
        difference = torch.cat((codes[..., :6] - target[..., :6], turn), dim=-1)
        loss = smooth_l1(difference).sum(dim=-1)
        if self.code_size == 7:
            return loss
        return loss + self.velocity_weight * smooth_l1(known_l1(codes[..., 7:], target[..., 7:])).sum(dim=-1)

    @torch.no_grad()
    def predict(self, maps: AnchorMaps) -> list[dict[str, Tensor]]:
        """Detections of each sample: ``boxes`` [N, 7 or 9], ``scores`` [N], ``labels`` int64 [N]."""
        anchors = self.place(maps.shape, maps.scores.device)
        return [self._detections(anchors, *sample) for sample in zip(maps.scores, maps.codes, maps.directions)]

    def _detections(self, anchors: Tensor, logits: Tensor, codes: Tensor, directions: Tensor) -> dict[str, Tensor]:
        scores = logits.sigmoid()  # [A, classes]
        best, order = scores.amax(dim=1).sort(descending=True, stable=True)
        rows = order[: self.suppression.before][best[: self.suppression.before] > self.score_threshold]
        boxes = decode_residual(codes[rows], anchors[rows])
        boxes[:, 6] = self._resolve_direction(boxes[:, 6], directions[rows].argmax(dim=1))
        good = boxes.isfinite().all(dim=1)
        boxes, scores = boxes[good], scores[rows][good]
        if self.suppression.kind == "class":  # a box may be kept under several classes
            row, label = (scores > self.score_threshold).nonzero().unbind(dim=1)
            score = scores[row, label]
        else:
            score, label = scores.max(dim=1) if len(scores) else (scores.sum(dim=1), scores.sum(dim=1).long())
            row = torch.arange(len(boxes), device=boxes.device)
        keep = self.suppression(boxes[row], score, label)
        return {"boxes": boxes[row][keep], "scores": score[keep], "labels": label[keep]}

    def _resolve_direction(self, yaw: Tensor, direction: Tensor) -> Tensor:
        """Yaw modulo the width of a bin, moved into the predicted bin, in [-pi, pi)."""
        width = 2 * math.pi / self.direction_bins
        turned = torch.remainder(yaw - self.direction_offset, width) + self.direction_offset + width * direction
        return torch.remainder(turned + math.pi, 2 * math.pi) - math.pi
