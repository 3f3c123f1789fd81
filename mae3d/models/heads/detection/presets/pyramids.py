"""The detectors of GD-MAE and T-MAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mae3d.models.backbones.bev import AttachedConvs, BEVSequential
from mae3d.models.backbones.dense_fusion import DenseFusion
from mae3d.models.backbones.sst_pyramid import SiamWCA, SSTPyramid
from mae3d.models.heads.detection.anchor_head import AnchorHead
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.detector import Detector, TemporalDetector
from mae3d.models.heads.detection.graph_refiner import GraphRefiner
from mae3d.models.heads.detection.presets.anchors import KITTI_ANCHORS
from mae3d.models.heads.detection.presets.classes import (
    KITTI_CLASSES,
    ONCE_CLASSES,
    WAYMO_CLASSES,
)
from mae3d.models.heads.detection.two_stage import TwoStageDetector
from mae3d.models.tokenizers.pillar_mlp import PillarMlp
from mae3d.models.tokenizers.voxels import VoxelTokenizer
from mae3d.registry import MODELS


class PyramidDetector(Detector):
    """The one-stage detector of GD-MAE: its pyramid, dense fusion, four convolutions, CenterPoint's head at full size.

    Args:
        classes: Names; one group unless ``head`` says otherwise.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres.
        in_channels: Columns of the points.
        vfe_channels: See :class:`GDMAE`.
        vfe_norm: See :class:`GDMAE`.
        normalized: See :class:`PillarMlp`.
        widths: Channels of each stage.
        depth: Pairs of attention layers of each stage.
        embed_dim: Width of the map.
        encoder: Further arguments of :attr:`pyramid`.
        head: Further arguments of :class:`CenterHead`; its biases are those that the official files hold.
        **options: Of :class:`Detector`.
    """

    pyramid: type[SSTPyramid] = SSTPyramid

    def __init__(
        self,
        classes: Sequence[str] = WAYMO_CLASSES,
        point_range: Sequence[float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
        pillar: float = 0.32,
        in_channels: int = 5,
        *,
        vfe_channels: Sequence[int] = (64,),
        vfe_norm: Sequence[float] = (1e-3, 0.01),
        normalized: bool = False,
        widths: Sequence[int] = (128, 256, 256),
        depth: int = 2,
        embed_dim: int = 128,
        encoder: dict | None = None,
        head: dict | None = None,
        **options: Any,
    ) -> None:
        eps, momentum = vfe_norm
        channels = (*vfe_channels, widths[0])
        vfe = PillarMlp(in_channels, channels, norm_eps=eps, norm_momentum=momentum, normalized=normalized)
        tokenizer, bev = _pyramid_parts(point_range, pillar, vfe, widths, embed_dim)
        published = {"bias_before_norm": True, "suppression": {"threshold": 0.7, "before": 4096, "after": 500}}
        center = CenterHead(embed_dim, classes, point_range, **{**published, **(head or {})})
        pyramid = self.pyramid(widths[0], widths, depth, **(encoder or {}))
        super().__init__(tokenizer, pyramid, bev, center, **options)


class TwoStagePyramidDetector(PyramidDetector, TwoStageDetector):
    """GD-MAE's detector with the second stage of Graph R-CNN, on a first stage that is trained already.

    Args:
        classes: See :class:`PyramidDetector`.
        in_channels: See there.
        head: See there; by default the proposals are suppressed class by class, as published.
        refiner: Further arguments of :class:`GraphRefiner`.
        **options: Of :class:`PyramidDetector`; ``sampler`` and ``freeze_first`` of :class:`TwoStageDetector`.
    """

    def __init__(
        self,
        classes: Sequence[str] = WAYMO_CLASSES,
        *,
        in_channels: int = 5,
        head: dict | None = None,
        refiner: dict | None = None,
        **options: Any,
    ) -> None:
        published = {"kind": "class", "threshold": 0.55, "before": 1024, "after": 150}
        if len(classes) == 3:  # vehicles, pedestrians, cyclists
            published |= {"threshold": (0.7, 0.55, 0.55), "before": (2048, 1024, 1024), "after": (200, 150, 150)}
        super().__init__(
            classes,
            in_channels=in_channels,
            head={"suppression": published, **(head or {})},
            refiner={"type": GraphRefiner, "in_channels": in_channels, **(refiner or {})},
            **options,
        )


class TemporalPyramidDetector(PyramidDetector, TemporalDetector):
    """The detector of T-MAE on two frames; arguments as :class:`PyramidDetector`, defaults as published for ONCE."""

    pyramid = SiamWCA

    def __init__(
        self,
        classes: Sequence[str] = ONCE_CLASSES,
        point_range: Sequence[float] = (-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
        *,
        in_channels: int = 4,
        vfe_norm: Sequence[float] = (1e-5, 0.1),
        **options: Any,
    ) -> None:
        super().__init__(classes, point_range, in_channels=in_channels, vfe_norm=vfe_norm, **options)


@MODELS.register_module()
def gd_mae_centerpoint(classes: Sequence[str] = WAYMO_CLASSES, **overrides: Any) -> PyramidDetector:
    """The one-stage detector of GD-MAE."""
    return PyramidDetector(classes, **overrides)


@MODELS.register_module()
def gd_mae_two_stage(classes: Sequence[str] = WAYMO_CLASSES, **overrides: Any) -> TwoStagePyramidDetector:
    """The same with the second stage of Graph R-CNN."""
    return TwoStagePyramidDetector(classes, **overrides)


@MODELS.register_module()
def t_mae_centerpoint(classes: Sequence[str] = ONCE_CLASSES, **overrides: Any) -> TemporalPyramidDetector:
    """The detector of T-MAE on two frames."""
    return TemporalPyramidDetector(classes, **overrides)


@MODELS.register_module()
def gd_mae_kitti_anchors(
    *,
    vfe_channels: Sequence[int] = (64,),
    widths: Sequence[int] = (128, 256, 256),
    depth: int = 2,
    embed_dim: int = 128,
    encoder: dict | None = None,
    **options: Any,
) -> Detector:
    """What GD-MAE fine-tunes on KITTI: its pyramid, dense fusion, four convolutions, SECOND's anchors at full size.

    Arguments as :class:`PyramidDetector`.
    """
    point_range = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)
    vfe = PillarMlp(4, (*vfe_channels, widths[0]))
    tokenizer, bev = _pyramid_parts(point_range, 0.32, vfe, widths, embed_dim)
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    area = (*point_range[:2], *point_range[3:5])
    head = AnchorHead(embed_dim, KITTI_CLASSES, KITTI_ANCHORS, area, score_threshold=0.3, suppression=suppression)
    return Detector(tokenizer, SSTPyramid(widths[0], widths, depth, **(encoder or {})), bev, head, **options)


def _pyramid_parts(
    point_range: Sequence[float], pillar: float, vfe: PillarMlp, widths: Sequence[int], embed_dim: int
) -> tuple[VoxelTokenizer, BEVSequential]:
    """What all of them share: tokenizer and two-dimensional network."""
    tokenizer = VoxelTokenizer(point_range, (pillar, pillar, point_range[5] - point_range[2]), vfe)
    convs = AttachedConvs(embed_dim, embed_dim, (1, 1, 2, 1), residual=(0, 1, 2))
    return tokenizer, BEVSequential([DenseFusion(widths, embed_dim), convs])
