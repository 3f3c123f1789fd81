"""Detection head of CenterPoint: objects are peaks of class heat maps, boxes are regressed at the peaks.

Source: Yin et al., CVPR 2021, in the form of OpenPCDet (``CenterHead``), whose tensor names these are
(``dense_head.*``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.heads.detection.bev_grid import BEVGrid
from mae3d.models.heads.detection.box_coders import decode_center, encode_center
from mae3d.models.heads.detection.gaussian import draw_gaussians, gaussian_radius
from mae3d.models.heads.detection.losses import heatmap_focal_loss, known_l1
from mae3d.models.heads.detection.suppression import Suppression
from mae3d.ops.box_iou import box_iou_3d
from mae3d.registry import MODELS

CODE = {"center": 2, "center_z": 1, "dim": 3, "rot": 2, "vel": 2}
"""Regressed maps in the order of the code -> channels."""


class CenterTargets(NamedTuple):
    """What one group of classes must predict for a batch with K objects of the group."""

    heatmap: Tensor
    """float32 [B, classes, H, W]."""
    sample: Tensor
    """int64 [K]."""
    column: Tensor
    """int64 [K], x of the object's cell."""
    row: Tensor
    """int64 [K], y of it."""
    code: Tensor
    """[K, 8 or 10], see :func:`encode_center`."""
    boxes: Tensor
    """[K, 7 or 9], metres."""


class SeparateHead(nn.Module):
    """One small network per map of a group of classes.

    Args:
        in_channels: C.
        maps: Name -> channels.
        layers: Convolutions of each, the last included.
        bias: Of the convolutions before a norm.
    """

    def __init__(self, in_channels: int, maps: dict[str, int], layers: int = 2, bias: bool = False) -> None:
        super().__init__()
        self.maps = tuple(maps)
        for name, channels in maps.items():
            hidden = [
                nn.Sequential(nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=bias), *_norm_relu(in_channels))
                for _ in range(layers - 1)
            ]
            network = nn.Sequential(*hidden, nn.Conv2d(in_channels, channels, 3, padding=1))
            _initialize(network, name)
            self.add_module(name, network)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, C, H, W] -> name -> [B, channels, H, W]."""
        return {name: getattr(self, name)(x) for name in self.maps}


def _initialize(network: nn.Sequential, name: str) -> None:
    """Heat maps start at a probability of 0.1 everywhere; regressed maps at zero bias and wide weights."""
    if name == "hm":
        nn.init.constant_(network[-1].bias, -2.19)
        return
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.kaiming_normal_(conv.weight)
    nn.init.zeros_(network[-1].bias)


def _norm_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()


@MODELS.register_module()
class CenterHead(nn.Module):
    """Heat maps and boxes for groups of classes.

    Args:
        in_channels: Of the bird's-eye map.
        classes: Names of all classes; labels index into them.
        groups: Names of the classes of each group, which share their regression maps; default one group.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max) of the map, metres.
        velocity: Regress velocity: boxes have nine numbers.
        iou: Predict the IoU of each box and weigh scores by it.
        shared_channels: Of the convolution before all groups.
        bias_before_norm: Convolutions before a norm have biases, which train to no effect; OpenPCDet's files of
            CenterPoint on nuScenes and Waymo hold them.
        min_overlap: IoU that defines the Gaussians' radius.
        min_radius: Smallest radius, cells.
        loc_weight: Of the box loss.
        velocity_weight: Of velocity within it.
        max_objects: Peaks looked at per group and sample.
        score_threshold: Detections need more.
        limit: (x_min, y_min, z_min, x_max, y_max, z_max) of centres of detections; default no limit.
        suppression: Of each group, arguments of :class:`Suppression`.
        rectify: With ``iou``: exponent a of each class, score ^ (1 - a) * IoU ^ a.

    Raises:
        ConfigError: Groups that are no partition of the classes, or a rectification without its branch.
    """

    def __init__(
        self,
        in_channels: int,
        classes: Sequence[str],
        point_range: Sequence[float],
        *,
        groups: Sequence[Sequence[str]] | None = None,
        velocity: bool = False,
        iou: bool = False,
        shared_channels: int = 64,
        bias_before_norm: bool = False,
        min_overlap: float = 0.1,
        min_radius: int = 2,
        loc_weight: float = 2.0,
        velocity_weight: float = 0.2,
        max_objects: int = 500,
        score_threshold: float = 0.1,
        limit: Sequence[float] | None = None,
        suppression: dict | None = None,
        rectify: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        groups = [list(classes)] if groups is None else [list(group) for group in groups]
        if sorted(name for group in groups for name in group) != sorted(classes):
            raise ConfigError(f"CenterHead: groups {groups} must hold each of {list(classes)} once")
        if rectify is not None and (not iou or len(rectify) != len(classes)):
            raise ConfigError("CenterHead: rectify needs iou=True and one exponent per class")
        self.classes = tuple(classes)
        self.group_labels = [[self.classes.index(name) for name in group] for group in groups]
        self.point_range = tuple(point_range)
        self.velocity, self.iou = velocity, iou
        self.min_overlap, self.min_radius = min_overlap, min_radius
        self.loc_weight, self.velocity_weight = loc_weight, velocity_weight
        self.max_objects, self.score_threshold = max_objects, score_threshold
        self.limit = None if limit is None else tuple(limit)
        self.suppression = Suppression(**(suppression or {}))
        self.rectify = None if rectify is None else tuple(rectify)
        self.code = {name: size for name, size in CODE.items() if velocity or name != "vel"}
        extra = {"iou": 1} if iou else {}
        conv = nn.Conv2d(in_channels, shared_channels, 3, padding=1, bias=bias_before_norm)
        self.shared_conv = nn.Sequential(conv, *_norm_relu(shared_channels))
        self.heads_list = nn.ModuleList(
            SeparateHead(shared_channels, {**self.code, "hm": len(labels), **extra}, bias=bias_before_norm)
            for labels in self.group_labels
        )

    def forward(self, bev: Tensor) -> list[dict[str, Tensor]]:
        """[B, C, H, W] -> maps of each group, float32."""
        shared = self.shared_conv(bev)
        return [{name: value.float() for name, value in head(shared).items()} for head in self.heads_list]

    def targets(self, boxes: Sequence[Tensor], labels: Sequence[Tensor], shape: tuple[int, int]) -> list[CenterTargets]:
        """What each group must predict; objects whose centre is outside the map, or without a size, are left out.

        Args:
            boxes: Of each sample, [M, 7 or 9].
            labels: Of each sample, int64 [M]; labels that belong to no class are left out.
            shape: (H, W).
        """
        grid = BEVGrid.of(self.point_range, *shape)
        width = 9 if self.velocity else 7
        sample = torch.cat([label.new_full((len(label),), number) for number, label in enumerate(labels)])
        packed, label = torch.cat([box[:, :width].float() for box in boxes]), torch.cat(list(labels))
        good = grid.contains(packed[:, :2]) & (packed[:, 3:6] > 0).all(dim=1)
        return [
            self._group_targets(group, packed, label, sample, good, grid, len(boxes)) for group in self.group_labels
        ]

    def _group_targets(
        self, group: list[int], boxes: Tensor, label: Tensor, sample: Tensor, good: Tensor, grid: BEVGrid, batch: int
    ) -> CenterTargets:
        member = label[:, None] == label.new_tensor(group)  # [M, classes of the group]
        rows = (good & member.any(dim=1)).nonzero().squeeze(1)
        boxes, sample, local = boxes[rows], sample[rows], member[rows].int().argmax(dim=1)
        cells = grid.to_cells(boxes[:, :2])
        size = boxes[:, 3:5] / boxes.new_tensor(grid.cell)
        radius = gaussian_radius(size[:, 0], size[:, 1], self.min_overlap).long().clamp(min=self.min_radius)
        column, row = cells.long().unbind(dim=1)
        shape = (batch, len(group), grid.height, grid.width)
        heatmap = draw_gaussians(shape, sample, local, column, row, radius)
        return CenterTargets(heatmap, sample, column, row, encode_center(boxes, cells), boxes)

    def loss(
        self, maps: list[dict[str, Tensor]], boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """``loss_heatmap``, ``loss_box`` and, with the branch, ``loss_iou``, summed over groups."""
        targets = self.targets(boxes, labels, tuple(maps[0]["hm"].shape[-2:]))
        losses: dict[str, Tensor] = {}
        for group, target in zip(maps, targets):
            for name, value in self._group_loss(group, target).items():
                losses[name] = losses[name] + value if name in losses else value
        return losses

    def _group_loss(self, maps: dict[str, Tensor], target: CenterTargets) -> dict[str, Tensor]:
        place = (target.sample, slice(None), target.row, target.column)
        code = torch.cat([maps[name][place] for name in self.code], dim=1)  # [K, 8 or 10]
        count = max(1, len(target.sample))
        error = known_l1(code, target.code).sum(dim=0) / count
        weights = error.new_ones(len(error))
        weights[8:] = self.velocity_weight
        losses = {
            "loss_heatmap": heatmap_focal_loss(maps["hm"], target.heatmap),
            "loss_box": self.loc_weight * (error * weights).sum(),
        }
        if self.iou:
            grid = BEVGrid.of(self.point_range, *maps["hm"].shape[-2:])
            boxes = decode_center(code.detach(), torch.stack((target.column, target.row), dim=1))
            boxes[:, :2] = grid.to_metres(boxes[:, :2])
            overlap = box_iou_3d(boxes[:, :7].contiguous(), target.boxes[:, :7].contiguous(), paired=True)
            losses["loss_iou"] = (maps["iou"][place].squeeze(1) - (2 * overlap - 1)).abs().sum() / count
        return losses

    @torch.no_grad()
    def predict(self, maps: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Detections of each sample: ``boxes`` [N, 7 or 9], ``scores`` [N], ``labels`` int64 [N]."""
        candidates = [self._candidates(group, labels) for group, labels in zip(maps, self.group_labels)]
        return [
            _concatenate([self._detections(*(value[sample] for value in group)) for group in candidates])
            for sample in range(maps[0]["hm"].shape[0])
        ]

    def _candidates(self, maps: dict[str, Tensor], group: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [B, K, 7 or 9], scores and labels [B, K] at the K highest values of the heat maps."""
        height, width = maps["hm"].shape[-2:]
        flat = maps["hm"].sigmoid().flatten(1)
        scores, place = flat.topk(min(self.max_objects, flat.shape[1]), dim=1)
        cell = place % (height * width)
        labels = place.new_tensor(group)[place // (height * width)]
        gather = lambda value: value.flatten(2).gather(2, cell[:, None].expand(-1, value.shape[1], -1))  # noqa: E731
        code = torch.cat([gather(maps[name]) for name in self.code], dim=1).transpose(1, 2)  # [B, K, 8 or 10]
        boxes = decode_center(code, torch.stack((cell % width, cell // width), dim=-1))
        boxes[..., :2] = BEVGrid.of(self.point_range, height, width).to_metres(boxes[..., :2])
        if self.rectify is not None:
            overlap = ((gather(maps["iou"]).squeeze(1) + 1) / 2).clamp(0, 1)
            exponent = scores.new_tensor(self.rectify)[labels]
            scores = scores ** (1 - exponent) * overlap**exponent
        return boxes, scores, labels

    def _detections(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        good = (scores > self.score_threshold) & boxes.isfinite().all(dim=1)
        if self.limit is not None:
            limit = boxes.new_tensor(self.limit)
            good &= ((boxes[:, :3] >= limit[:3]) & (boxes[:, :3] <= limit[3:])).all(dim=1)
        boxes, scores, labels = boxes[good], scores[good], labels[good]
        keep = self.suppression(boxes, scores, labels)
        return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}


def _concatenate(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
