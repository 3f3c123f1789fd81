"""A detector: points -> voxels -> encoder -> bird's-eye network -> head."""

from __future__ import annotations

from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.bev import bev_map
from mae3d.models.building import build
from mae3d.models.heads.detection.bev_grid import split_boxes
from mae3d.registry import MODELS


@MODELS.register_module()
class Detector(BaseModel):
    """Single-stage detector on packed clouds.

    Args:
        tokenizer: ``(points [T, C], offsets) -> Voxels`` with features, module or config.
        encoder: Voxels -> voxels, a sparse tensor or a map; None uses the voxels as they are (pillars).
        bev_backbone: Map [B, C, H, W] -> map; None uses the map as it is.
        head: :class:`CenterHead`, :class:`AnchorHead` or another with ``forward``, ``loss`` and ``predict``.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    modality = "lidar"
    context: tuple[str, ...] = ()
    """Fields of a batch, beside the points, that :meth:`encode` takes."""
    fresh = ("bev_backbone.", "head.")
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        encoder: nn.Module | dict | None,
        bev_backbone: nn.Module | dict | None,
        head: nn.Module | dict,
        *,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = build(tokenizer)
        self.encoder = nn.Identity() if encoder is None else build(encoder)
        self.bev_backbone = nn.Identity() if bev_backbone is None else build(bev_backbone)
        self.head = build(head)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that the labels of predictions index into."""
        return self.head.classes

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
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [T, C] packed clouds, x y z first.
            mode: "tensor" gives the map that the head reads, [B, C, H, W]; "loss" the losses; "predict" one dict per
                sample: ``boxes`` [N, 7 or 9], ``scores`` [N], ``labels`` int64 [N], and ``index`` where given.
            offsets: int64 [B + 1], the points of each cloud.
            boxes: [K, 7 or 9] packed ground truth; velocity NaN where unknown.
            box_labels: int64 [K]; negative labels are left out.
            box_offsets: int64 [B + 1].
            index: int64 [B], positions in the data set.
            **annotations: Further fields of the batch, handed to :meth:`encode`.

        Raises:
            ConfigError: "loss" without ground truth.
        """
        features = self.bev_backbone(bev_map(self.encode(points, offsets, **annotations)))
        if mode == "tensor":
            return features
        if mode == "loss":
            if boxes is None or box_labels is None or box_offsets is None:
                raise ConfigError("Detector: mode 'loss' needs boxes, box_labels and box_offsets in the batch")
            return self.head.loss(
                self.head(features), split_boxes(boxes, box_offsets), split_boxes(box_labels, box_offsets)
            )
        if mode == "predict":
            detections = self.head.predict(self.head(features))
            if index is not None:
                detections = [{**found, "index": number} for found, number in zip(detections, index)]
            return detections
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def encode(self, points: Tensor, offsets: Tensor, **fields: Any) -> Any:
        """What the encoder makes of the clouds; ``fields`` are the rest of the batch, not used."""
        return self.encoder(self.tokenizer(points, offsets))

    @torch.no_grad()
    def extract_features(self, points: Tensor, offsets: Tensor, **fields: Any) -> Tensor:
        """Mean of the map that the head reads over all its cells, [B, C]."""
        return self(points, offsets=offsets, **fields).mean(dim=(2, 3))


@MODELS.register_module()
class TemporalDetector(Detector):
    """Detector on two frames: the batch holds ``previous_points`` and ``previous_offsets`` beside the current clouds.

    Args:
        **options: Of :class:`Detector`; the encoder takes the voxels of both frames, e.g. :class:`SiamWCA`.
    """

    modality = "lidar_pair"
    context = ("previous_points", "previous_offsets")

    def encode(
        self,
        points: Tensor,
        offsets: Tensor,
        *,
        previous_points: Tensor | None = None,
        previous_offsets: Tensor | None = None,
        **fields: Any,
    ) -> Any:
        """What the encoder makes of both frames; the previous one lies in the frame of the current sensor.

        Raises:
            ConfigError: The previous frame is missing.
        """
        if previous_points is None or previous_offsets is None:
            raise ConfigError(
                "TemporalDetector: the batch lacks previous_points and previous_offsets; give the data set an earlier "
                "frame, e.g. previous=dict(gaps=(1,))"
            )
        return self.encoder(self.tokenizer(points, offsets), self.tokenizer(previous_points, previous_offsets))
