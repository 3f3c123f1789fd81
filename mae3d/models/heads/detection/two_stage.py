"""A detector whose boxes a second stage looks at again."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.bev import bev_map
from mae3d.models.building import build
from mae3d.models.heads.detection.bev_grid import split_boxes
from mae3d.models.heads.detection.detector import Detector
from mae3d.models.heads.detection.graph_refiner import apply_code
from mae3d.models.heads.detection.proposal_targets import ProposalSampler, match_proposals
from mae3d.registry import MODELS


@MODELS.register_module()
class TwoStageDetector(Detector):
    """Detections of a :class:`Detector` are proposals, which a refiner scores and corrects from the points inside them.

    A detection keeps its class and velocity; its score is the geometric mean of both stages' (an estimate of how well
    the box fits). There is no second suppression.

    Args:
        tokenizer: See :class:`Detector`, as the next three.
        encoder: See above.
        bev_backbone: See above.
        head: See above; its suppression decides on the proposals.
        refiner: :class:`GraphRefiner`, module or config.
        sampler: Arguments of :class:`ProposalSampler`.
        freeze_first: The first stage stays as it is loaded, normalisation included, and has no losses.
        **options: ``data_preprocessor`` and ``init_cfg`` of :class:`Detector`.
    """

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        encoder: nn.Module | dict | None,
        bev_backbone: nn.Module | dict | None,
        head: nn.Module | dict,
        refiner: nn.Module | dict,
        *,
        sampler: dict | None = None,
        freeze_first: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(tokenizer, encoder, bev_backbone, head, **options)
        self.refiner = build(refiner)
        self.sampler = ProposalSampler(**(sampler or {}))
        self.freeze_first = freeze_first
        # A frozen first stage needs the file of a whole detector.
        self.fresh = ("refiner.",) if freeze_first else (*self.fresh, "refiner.")
        if freeze_first:
            for part in self.first_stage:
                part.requires_grad_(False)

    @property
    def first_stage(self) -> tuple[nn.Module, ...]:
        """The parts that make the proposals."""
        return self.tokenizer, self.encoder, self.bev_backbone, self.head

    def train(self, mode: bool = True) -> TwoStageDetector:
        """As usual, but a frozen first stage stays in evaluation mode."""
        super().train(mode)
        if self.freeze_first:
            for part in self.first_stage:
                part.eval()
        return self

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor,
        boxes: Tensor | None = None,
        box_labels: Tensor | None = None,
        box_offsets: Tensor | None = None,
        index: Tensor | None = None,
        generator: torch.Generator | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch, see :class:`Detector`; ``generator`` draws the proposals to learn from."""
        if mode not in ("loss", "predict"):
            return super().forward(points, mode, offsets=offsets, **annotations)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_first):
            maps = self.head(self.bev_backbone(bev_map(self.encode(points, offsets, **annotations))))
        proposals = self.head.predict(maps)
        if mode == "predict":
            detections = self.refine(points, offsets, proposals)
            if index is not None:
                detections = [{**found, "index": number} for found, number in zip(detections, index)]
            return detections
        if boxes is None or box_labels is None or box_offsets is None:
            raise ConfigError("TwoStageDetector: mode 'loss' needs boxes, box_labels and box_offsets in the batch")
        truth, labels = split_boxes(boxes, box_offsets), split_boxes(box_labels, box_offsets)
        losses = {} if self.freeze_first else self.head.loss(maps, truth, labels)
        return losses | self.refiner_loss(points, offsets, proposals, truth, labels, generator)

    def refiner_loss(
        self,
        points: Tensor,
        offsets: Tensor,
        proposals: list[dict[str, Tensor]],
        truth: list[Tensor],
        labels: list[Tensor],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Losses of the second stage on proposals that are drawn from those of the first."""
        chosen, objects, overlaps = [], [], []
        for own, boxes, classes in zip(proposals, truth, labels):
            known = classes >= 0
            boxes, classes = boxes[known, :7].float(), classes[known]
            match = match_proposals(own["boxes"][:, :7], own["labels"], boxes, classes)
            rows = self.sampler(match.overlap, generator)
            chosen.append(own["boxes"][rows, :7])
            objects.append(boxes[match.object[rows]] if len(boxes) else chosen[-1])
            overlaps.append(match.overlap[rows])
        rois = torch.cat(chosen)
        found = self.refiner(points, offsets, rois, _offsets(chosen))
        return self.refiner.loss(found, rois, torch.cat(objects), torch.cat(overlaps))

    @torch.no_grad()
    def refine(self, points: Tensor, offsets: Tensor, proposals: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Proposals of each sample with the boxes and scores of both stages."""
        rois = torch.cat([own["boxes"] for own in proposals])
        starts = _offsets([own["boxes"] for own in proposals])
        found = self.refiner(points, offsets, rois[:, :7].contiguous(), starts)
        boxes = torch.cat((apply_code(found.codes, rois[:, :7]), rois[:, 7:]), dim=1)
        scores = (found.logits.sigmoid() * torch.cat([own["scores"] for own in proposals])).sqrt()
        return [
            {"boxes": box, "scores": score, "labels": own["labels"]}
            for own, box, score in zip(proposals, split_boxes(boxes, starts), split_boxes(scores, starts))
        ]


def _offsets(parts: list[Tensor]) -> Tensor:
    """int64 [B + 1] of packed rows."""
    return torch.tensor([0, *map(len, parts)], device=parts[0].device).cumsum(0)
