"""Second stage of Graph R-CNN (Yang et al., ECCV 2022, arXiv 2208.03624), which GD-MAE puts on its detector.

Points of a proposal, evenly chosen, are the nodes of a graph of nearest neighbours; edge convolutions, a gate of the
channels and a maximum make one vector of them, from which a score of the proposal and a correction of its box are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.heads.detection.box_coders import decode_residual, encode_residual
from mae3d.models.heads.detection.losses import smooth_l1
from mae3d.models.heads.detection.proposal_targets import score_target
from mae3d.models.heads.detection.roi_points import RoiPointSampler
from mae3d.models.layers.edge_conv import EdgeConv
from mae3d.ops.gather_points import gather_rows
from mae3d.ops.knn import knn
from mae3d.registry import MODELS
from mae3d.structures.boxes import box_corners, rotate_bev, wrap_angle


class Refinement(NamedTuple):
    """What the second stage says of R proposals."""

    logits: Tensor
    """[R], of the score."""
    codes: Tensor
    """[R, 7], see :func:`local_code`."""


class ChannelMlp(nn.Module):
    """``norm2(x + drop(W2 drop(ReLU(W1 x))))`` of ``x = norm1(y + drop(y))``.

    The first sum is what is left of an attention block; BatchNorm takes the doubling back.

    Args:
        dim: Width C, also of the hidden layer.
        dropout: Rate.
    """

    def __init__(self, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm1, self.norm2 = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[R, C] -> [R, C]."""
        x = self.norm1(x + self.dropout(x))
        hidden = self.dropout(self.fc1(x).relu())
        return self.norm2(x + self.dropout(self.fc2(hidden)))


@MODELS.register_module()
class GraphRefiner(nn.Module):
    """Score and box of proposals from the points inside them.

    Batch normalisation cannot learn from a single proposal: in training, where fewer than two are normalised together,
    logits and codes are 0 and teach nothing.

    Args:
        in_channels: Columns of the points, x y z first.
        sampler: Arguments of :class:`RoiPointSampler`.
        neighbours: Of a point in the graph, itself included.
        edge_channels: Width of each edge convolution.
        gate_channels: Hidden width of the gate.
        hidden_channels: Width before the maximum over the points.
        embed_dim: Width after it.
        dropout: Rate of :class:`ChannelMlp`.
        score_range: IoU at which the target of the score leaves 0 and reaches 1.
        positive: Boxes of proposals with a larger IoU are corrected.

    Raises:
        ConfigError: More neighbours than points.
    """

    def __init__(
        self,
        in_channels: int = 5,
        *,
        sampler: dict | None = None,
        neighbours: int = 8,
        edge_channels: Sequence[int] = (32, 32, 64),
        gate_channels: int = 64,
        hidden_channels: int = 512,
        embed_dim: int = 256,
        dropout: float = 0.1,
        score_range: tuple[float, float] = (0.25, 0.75),
        positive: float = 0.55,
    ) -> None:
        super().__init__()
        self.sampler = RoiPointSampler(**(sampler or {}))
        if neighbours > self.sampler.num_points:
            raise ConfigError(
                f"GraphRefiner: {neighbours} neighbours need as many points of a box, sampler.num_points is "
                f"{self.sampler.num_points}"
            )
        self.in_channels, self.neighbours = in_channels, neighbours
        self.score_range, self.positive = tuple(score_range), positive
        widths = (in_channels + 6, *edge_channels)
        self.edges = nn.ModuleList(EdgeConv(*pair) for pair in zip(widths, edge_channels))
        width = sum(edge_channels)
        self.gate = nn.Sequential(*_layer(width, gate_channels), nn.Linear(gate_channels, width))
        self.expansion = nn.Sequential(*_layer(width, hidden_channels))
        self.reduction = nn.Sequential(*_layer(hidden_channels, embed_dim))
        self.mixing = ChannelMlp(embed_dim, dropout)
        self.shared = nn.Sequential(*_layer(embed_dim, embed_dim))
        self.score = nn.Linear(embed_dim, 1)
        self.box = nn.Linear(embed_dim, 7)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.box.weight, std=0.001)  # proposals stay where they are at first

    def forward(self, points: Tensor, offsets: Tensor, boxes: Tensor, box_offsets: Tensor) -> Refinement:
        """Look at proposals.

        Args:
            points: [T, in_channels], metres.
            offsets: int64 [B + 1].
            boxes: [R, 7], the proposals.
            box_offsets: int64 [B + 1].
        """
        if points.shape[1] != self.in_channels:
            raise ConfigError(f"GraphRefiner: points have {points.shape[1]} columns, in_channels is {self.in_channels}")
        if self._normalised_together(boxes) < (2 if self.training else 1):
            nothing = sum(parameter.sum() for parameter in self.parameters()) * 0  # every parameter is in the graph
            return Refinement(nothing.expand(len(boxes)), nothing.expand(len(boxes), 7))
        nodes, local = self.nodes(points, offsets, boxes, box_offsets)
        count, size = nodes.shape[:2]
        x, levels = nodes, []
        neighbours = knn(local, k=self.neighbours).indices
        for edge in self.edges:
            x = edge(x, neighbours)
            levels.append(x)
        x = torch.cat(levels, dim=2).flatten(0, 1)  # [R K, C]
        x = self.expansion(self.gate(x).sigmoid() * x).unflatten(0, (count, size)).amax(dim=1)
        x = self.shared(self.mixing(self.reduction(x)))
        return Refinement(self.score(x).squeeze(1).float(), self.box(x).float())

    def _normalised_together(self, boxes: Tensor) -> int:
        """Proposals of this process, or of all where they share the statistics of SyncBatchNorm.

        Processes that share them must all run the network, also those without a proposal, or none of them.
        """
        synchronised = any(isinstance(module, nn.SyncBatchNorm) for module in self.modules())
        if not (self.training and synchronised and distributed.is_available() and distributed.is_initialized()):
            return len(boxes)
        count = torch.tensor(len(boxes), device=boxes.device)
        distributed.all_reduce(count)
        return int(count)

    def nodes(self, points: Tensor, offsets: Tensor, boxes: Tensor, box_offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes of the graphs [R, K, in_channels + 6] and their places in the frames of the boxes [R, K, 3].

        A node holds its place, the further columns of its point, and two opposite corners of the box; all is 0 in a box
        without points.
        """
        chosen = self.sampler(points, offsets, boxes, box_offsets)
        corners = torch.cat((-boxes[:, 3:6] / 2, boxes[:, 3:6] / 2), dim=1).float()
        corners = (corners * (chosen.counts > 0).unsqueeze(1)).unsqueeze(1).expand(-1, chosen.rows.shape[1], -1)
        further = gather_rows(points[:, 3:].float().contiguous(), chosen.rows)
        return torch.cat((chosen.local, further, corners), dim=2), chosen.local

    def loss(self, found: Refinement, boxes: Tensor, objects: Tensor, overlap: Tensor) -> dict[str, Tensor]:
        """``loss_roi_score``, ``loss_roi_box`` and ``loss_roi_corner``.

        Args:
            found: Of the drawn proposals.
            boxes: [R, 7], the proposals.
            objects: [R, 7], the object of each; anything where there is none.
            overlap: [R], IoU of the two, 0 where there is none.
        """
        score = F.binary_cross_entropy_with_logits(
            found.logits, score_target(overlap, *self.score_range), reduction="sum"
        )
        good = (overlap > self.positive).nonzero().squeeze(1)
        boxes, objects, codes = boxes[good].float(), objects[good].float(), found.codes[good]
        error = smooth_l1(codes - local_code(objects, boxes)).sum()
        return {
            "loss_roi_score": score / max(1, len(found.logits)),
            "loss_roi_box": error / max(1, len(good)),
            "loss_roi_corner": corner_distance(apply_code(codes, boxes), objects).sum() / max(1, len(good)),
        }


def _layer(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return nn.Linear(in_channels, out_channels, bias=False), nn.BatchNorm1d(out_channels), nn.ReLU()


def local_code(objects: Tensor, boxes: Tensor) -> Tensor:
    """Code [R, 7] of objects in the frames of proposals, both [R, 7]; the direction of an object does not matter."""
    shift = objects[:, :3] - boxes[:, :3]
    yaw = torch.remainder(objects[:, 6:7] - boxes[:, 6:7] + math.pi / 2, math.pi) - math.pi / 2
    local = torch.cat((rotate_bev(shift[:, :2], -boxes[:, 6]), shift[:, 2:], objects[:, 3:6], yaw), dim=1)
    return encode_residual(local, _at_origin(boxes))


def apply_code(codes: Tensor, boxes: Tensor) -> Tensor:
    """Proposals [R, 7] corrected by codes [R, 7]: the inverse of :func:`local_code` but for the direction."""
    local = decode_residual(codes, _at_origin(boxes))
    centre = torch.cat((rotate_bev(local[:, :2], boxes[:, 6]), local[:, 2:3]), dim=1) + boxes[:, :3]
    return torch.cat((centre, local[:, 3:6], wrap_angle(local[:, 6:7] + boxes[:, 6:7])), dim=1)


def corner_distance(boxes: Tensor, objects: Tensor) -> Tensor:
    """Huber loss [R] of the distances between corners of boxes [R, 7], mean over the eight.

    The object may as well point backwards: of each corner the smaller distance counts.
    """
    turned = torch.cat((objects[:, :6], objects[:, 6:7] + math.pi), dim=1)
    own = box_corners(boxes)
    distance = torch.minimum(*((own - box_corners(other)).norm(dim=2) for other in (objects, turned)))
    return smooth_l1(distance, beta=1.0).mean(dim=1)


def _at_origin(boxes: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(boxes[:, :3]), boxes[:, 3:6], torch.zeros_like(boxes[:, 6:7])), dim=1)
