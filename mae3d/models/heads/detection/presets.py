"""Detectors of the literature by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mae3d.models.backbones.bev import SECONDFPN, AttachedConvs, BaseBEVBackbone, BEVSequential
from mae3d.models.backbones.dense_fusion import DenseFusion
from mae3d.models.backbones.sparse_voxel import VoxelBackBone8x, VoxelResBackBone8x
from mae3d.models.backbones.sst import SSTBackbone
from mae3d.models.backbones.sst_pyramid import SiamWCA, SSTPyramid
from mae3d.models.heads.detection.anchor_head import AnchorHead
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.detector import Detector, TemporalDetector
from mae3d.models.tokenizers.pillar_mlp import PillarMlp
from mae3d.models.tokenizers.voxels import DynamicVFE, MeanVFE, VoxelTokenizer
from mae3d.registry import MODELS

KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")
WAYMO_CLASSES = ("Vehicle", "Pedestrian", "Cyclist")
ONCE_CLASSES = ("Car", "Bus", "Truck", "Pedestrian", "Cyclist")
NUSCENES_CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
NUSCENES_GROUPS = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
KITTI_ANCHORS = (
    {"size": (3.9, 1.6, 1.56), "bottom": -1.78, "label": "Car", "positive": 0.6, "negative": 0.45},
    {"size": (0.8, 0.6, 1.73), "bottom": -0.6, "label": "Pedestrian", "positive": 0.5, "negative": 0.35},
    {"size": (1.76, 0.6, 1.73), "bottom": -0.6, "label": "Cyclist", "positive": 0.5, "negative": 0.35},
)
WAYMO_ANCHORS = (
    {"size": (4.7, 2.1, 1.7), "bottom": 0.0, "label": "Vehicle", "positive": 0.55, "negative": 0.4},
    {"size": (0.91, 0.86, 1.73), "bottom": 0.0, "label": "Pedestrian", "positive": 0.5, "negative": 0.35},
    {"size": (1.78, 0.84, 1.78), "bottom": 0.0, "label": "Cyclist", "positive": 0.5, "negative": 0.35},
)
ONCE_ANCHORS = (
    {"size": (4.38, 1.87, 1.59), "bottom": -1.71, "label": "Car", "positive": 0.6, "negative": 0.45},
    {"size": (11.11, 2.88, 3.41), "bottom": -1.74, "label": "Bus", "positive": 0.55, "negative": 0.4},
    {"size": (7.52, 2.50, 2.62), "bottom": -1.55, "label": "Truck", "positive": 0.55, "negative": 0.4},
    {"size": (0.75, 0.76, 1.69), "bottom": -1.62, "label": "Pedestrian", "positive": 0.3, "negative": 0.15},
    {"size": (2.18, 0.79, 1.43), "bottom": -1.65, "label": "Cyclist", "positive": 0.5, "negative": 0.35},
)
NUSCENES_ANCHORS = tuple(
    {"size": size, "bottom": bottom, "positive": 0.6, "negative": 0.3}
    for size, bottom in (
        ((4.607, 1.950, 1.723), -1.800),
        ((6.738, 2.456, 2.730), -1.744),
        ((12.013, 2.874, 3.815), -1.685),
        ((1.685, 0.601, 1.272), -1.673),
        ((0.726, 0.663, 1.757), -1.618),
        ((0.404, 0.397, 1.062), -1.810),
        ((0.486, 2.490, 0.983), -1.764),
    )
)
"""Anchors of SST and Voxel-MAE on nuScenes; each may stand for any class."""


def _second(
    classes: Sequence[str],
    anchors: Sequence[dict],
    point_range: Sequence[float],
    voxel_size: Sequence[float],
    in_channels: int,
    suppression: dict,
    detector: dict[str, Any],
    **head: Any,
) -> Detector:
    encoder = VoxelBackBone8x(in_channels)
    height = round((point_range[5] - point_range[2]) / voxel_size[2])
    bev = BaseBEVBackbone(encoder.bev_channels(height))
    area = (*point_range[:2], *point_range[3:5])
    anchor_head = AnchorHead(bev.out_channels, classes, anchors, area, suppression=suppression, **head)
    tokenizer = VoxelTokenizer(point_range, voxel_size, MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, anchor_head, **detector)


@MODELS.register_module()
def second_kitti(**options: Any) -> Detector:
    """SECOND on KITTI: plain sparse encoder, one size of anchor per class."""
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    point_range = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
    return _second(KITTI_CLASSES, KITTI_ANCHORS, point_range, (0.05, 0.05, 0.1), 4, suppression, options)


@MODELS.register_module()
def second_waymo(in_channels: int = 5, **options: Any) -> Detector:
    """SECOND on Waymo, as configured in OpenPCDet."""
    suppression = {"threshold": 0.7, "before": 4096, "after": 500}
    point_range = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
    return _second(WAYMO_CLASSES, WAYMO_ANCHORS, point_range, (0.1, 0.1, 0.15), in_channels, suppression, options)


@MODELS.register_module()
def second_once(in_channels: int = 4, **options: Any) -> Detector:
    """SECOND on ONCE, as configured in OpenPCDet."""
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    point_range = (-75.2, -75.2, -5.0, 75.2, 75.2, 3.0)
    return _second(ONCE_CLASSES, ONCE_ANCHORS, point_range, (0.1, 0.1, 0.2), in_channels, suppression, options)


@MODELS.register_module()
def second_nuscenes(in_channels: int = 5, **options: Any) -> Detector:
    """SECOND on nuScenes with the anchors of SST and velocities: no published configuration."""
    suppression = {"kind": "class", "threshold": 0.2, "before": 1000, "after": 500}
    return _second(
        NUSCENES_CLASSES,
        NUSCENES_ANCHORS,
        (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
        (0.1, 0.1, 0.2),
        in_channels,
        suppression,
        options,
        velocity=True,
        weights=(1.0, 1.0, 0.2),
        normalize="batch",
        forced=0.3,
        score_threshold=0.05,
    )


@MODELS.register_module()
def centerpoint_nuscenes(
    in_channels: int = 5, residual_bias: bool = True, head_bias: bool = False, **options: Any
) -> Detector:
    """CenterPoint on nuScenes with voxels of 0.1 m: residual sparse encoder, six groups of classes.

    Args:
        in_channels: Columns of the points: x y z intensity lag.
        residual_bias: See :class:`VoxelResBackBone8x`.
        head_bias: ``bias_before_norm`` of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    point_range = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    encoder = VoxelResBackBone8x(in_channels, residual_bias)
    bev = BaseBEVBackbone(encoder.bev_channels(40))
    head = CenterHead(
        bev.out_channels,
        NUSCENES_CLASSES,
        point_range,
        groups=NUSCENES_GROUPS,
        velocity=True,
        bias_before_norm=head_bias,
        loc_weight=0.25,
        limit=(-61.2, -61.2, -10.0, 61.2, 61.2, 10.0),
        suppression={"threshold": 0.2, "before": 1000, "after": 83},
    )
    tokenizer = VoxelTokenizer(point_range, (0.1, 0.1, 0.2), MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, head, **options)


@MODELS.register_module()
def centerpoint_waymo(
    in_channels: int = 5, residual_bias: bool = True, head_bias: bool = False, **options: Any
) -> Detector:
    """CenterPoint on Waymo with voxels of 0.1 m: one group of three classes. Arguments as the one on nuScenes."""
    point_range = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
    encoder = VoxelResBackBone8x(in_channels, residual_bias)
    bev = BaseBEVBackbone(encoder.bev_channels(40))
    head = CenterHead(
        bev.out_channels,
        WAYMO_CLASSES,
        point_range,
        bias_before_norm=head_bias,
        limit=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0),
        suppression={"threshold": 0.7, "before": 4096, "after": 500},
    )
    tokenizer = VoxelTokenizer(point_range, (0.1, 0.1, 0.15), MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, head, **options)


@MODELS.register_module()
def centerpoint_kitti(
    in_channels: int = 4, residual_bias: bool = True, head_bias: bool = False, **options: Any
) -> Detector:
    """CenterPoint on KITTI with voxels of 0.05 m, as configured in OpenPCDet: a map of stride 4."""
    point_range = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
    encoder = VoxelResBackBone8x(in_channels, residual_bias)
    bev = BaseBEVBackbone(encoder.bev_channels(40), (5,), (1,), (128,), (2,), (256,))
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    head = CenterHead(bev.out_channels, KITTI_CLASSES, point_range, bias_before_norm=head_bias, suppression=suppression)
    tokenizer = VoxelTokenizer(point_range, (0.05, 0.05, 0.1), MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, head, **options)


@MODELS.register_module()
def centerpoint_pillar(
    classes: Sequence[str] = WAYMO_CLASSES,
    point_range: Sequence[float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    pillar: float = 0.32,
    in_channels: int = 5,
    nms_threshold: float = 0.7,
    score_threshold: float = 0.1,
    head: dict | None = None,
    **options: Any,
) -> Detector:
    """CenterPoint on pillars: no 3D encoder, three levels of plain convolutions.

    Args:
        classes: Names; one group.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres.
        in_channels: Columns of the points.
        nms_threshold: IoU of the suppression: 0.7 on Waymo, 0.5 on ONCE.
        score_threshold: Detections need more.
        head: Further arguments of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    height = point_range[5] - point_range[2]
    tokenizer = VoxelTokenizer(point_range, (pillar, pillar, height), DynamicVFE(in_channels, (32, 64)))
    bev = BaseBEVBackbone(64, (3, 5, 5), (1, 2, 2), (64, 128, 256), (1, 2, 4), (128, 128, 128))
    center = CenterHead(
        bev.out_channels,
        classes,
        point_range,
        score_threshold=score_threshold,
        suppression={"threshold": nms_threshold, "before": 4096, "after": 500},
        **(head or {}),
    )
    return Detector(tokenizer, None, bev, center, **options)


@MODELS.register_module()
def sst_nuscenes(
    in_channels: int = 5,
    embed_dim: int = 128,
    depth: int = 8,
    num_heads: int = 8,
    max_window_tokens: int | None = 250,
    **options: Any,
) -> Detector:
    """What Voxel-MAE fine-tunes on nuScenes: SST on pillars of half a metre, three convolutions, anchors.

    Args:
        in_channels: Columns of the points: x y z (intensity) lag, as in pre-training.
        embed_dim: Width of SST.
        depth: Pairs of layers.
        num_heads: Attention heads.
        max_window_tokens: See :class:`SSTBackbone`.
        **options: Of :class:`Detector`.
    """
    point_range = (-50.0, -50.0, -5.0, 50.0, 50.0, 3.0)
    tokenizer = VoxelTokenizer(point_range, (0.5, 0.5, 8.0), DynamicVFE(in_channels, (embed_dim // 2, embed_dim)))
    encoder = SSTBackbone(embed_dim, depth, num_heads, max_window_tokens=max_window_tokens)
    neck = BEVSequential([AttachedConvs(embed_dim, embed_dim), SECONDFPN((embed_dim,), (384,))])
    head = AnchorHead(
        384,
        NUSCENES_CLASSES,
        NUSCENES_ANCHORS,
        (-49.6, -49.6, 49.6, 49.6),
        velocity=True,
        weights=(1.0, 1.0, 0.2),
        normalize="batch",
        forced=0.3,
        score_threshold=0.05,
        suppression={"kind": "class", "threshold": 0.2, "before": 1000, "after": 500},
    )
    return Detector(tokenizer, encoder, neck, head, **options)


@MODELS.register_module()
def sst_centerpoint(
    classes: Sequence[str] = WAYMO_CLASSES,
    point_range: Sequence[float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    pillar: float = 0.32,
    in_channels: int = 5,
    embed_dim: int = 128,
    encoder: dict | None = None,
    convolutions: dict | None = None,
    head: dict | None = None,
    **options: Any,
) -> Detector:
    """SST on pillars, four convolutions with skips, CenterPoint's head at full resolution (GD-MAE, T-MAE).

    Args:
        classes: Names; one group unless ``head`` says otherwise.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres.
        in_channels: Columns of the points.
        embed_dim: Width of SST and, unless ``convolutions`` says otherwise, of the map.
        encoder: Further arguments of :class:`SSTBackbone`; four pairs of layers and windows of 12 by default.
        convolutions: Further arguments of :class:`AttachedConvs`; dilations 1, 1, 2, 1, three with skips by default.
        head: Further arguments of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    voxel_size = (pillar, pillar, point_range[5] - point_range[2])
    tokenizer = VoxelTokenizer(point_range, voxel_size, DynamicVFE(in_channels, (embed_dim // 2, embed_dim)))
    sst = SSTBackbone(embed_dim, **{"depth": 4, "window": (12, 12, 1), "temperature": 1000.0, **(encoder or {})})
    published = {"channels": embed_dim, "dilations": (1, 1, 2, 1), "residual": (0, 1, 2)}
    bev = AttachedConvs(embed_dim, **{**published, **(convolutions or {})})
    suppression = {"threshold": 0.7, "before": 4096, "after": 500}
    center = CenterHead(bev.out_channels, classes, point_range, **{"suppression": suppression, **(head or {})})
    return Detector(tokenizer, sst, bev, center, **options)


@MODELS.register_module()
def gd_mae_centerpoint(
    classes: Sequence[str] = WAYMO_CLASSES,
    point_range: Sequence[float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    pillar: float = 0.32,
    in_channels: int = 5,
    *,
    vfe_channels: Sequence[int] = (64,),
    vfe_norm: Sequence[float] = (1e-3, 0.01),
    widths: Sequence[int] = (128, 256, 256),
    depth: int = 2,
    embed_dim: int = 128,
    encoder: dict | None = None,
    head: dict | None = None,
    **options: Any,
) -> Detector:
    """The one-stage detector of GD-MAE: its pyramid, dense fusion, four convolutions, CenterPoint's head at full size.

    Args:
        classes: Names; one group unless ``head`` says otherwise.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres.
        in_channels: Columns of the points.
        vfe_channels: See :class:`GDMAE`.
        vfe_norm: See :class:`GDMAE`.
        widths: Channels of each stage.
        depth: Pairs of attention layers of each stage.
        embed_dim: Width of the map.
        encoder: Further arguments of :class:`SSTPyramid`.
        head: Further arguments of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    tokenizer, bev = _pyramid_parts(point_range, pillar, in_channels, vfe_channels, vfe_norm, widths, embed_dim)
    center = _center_of_pyramid(classes, point_range, embed_dim, head)
    return Detector(tokenizer, SSTPyramid(widths[0], widths, depth, **(encoder or {})), bev, center, **options)


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

    Arguments as :func:`gd_mae_centerpoint`.
    """
    point_range = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)
    tokenizer, bev = _pyramid_parts(point_range, 0.32, 4, vfe_channels, (1e-3, 0.01), widths, embed_dim)
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    area = (*point_range[:2], *point_range[3:5])
    head = AnchorHead(embed_dim, KITTI_CLASSES, KITTI_ANCHORS, area, score_threshold=0.3, suppression=suppression)
    return Detector(tokenizer, SSTPyramid(widths[0], widths, depth, **(encoder or {})), bev, head, **options)


@MODELS.register_module()
def t_mae_centerpoint(
    classes: Sequence[str] = ONCE_CLASSES,
    point_range: Sequence[float] = (-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
    pillar: float = 0.32,
    in_channels: int = 4,
    *,
    vfe_channels: Sequence[int] = (64,),
    vfe_norm: Sequence[float] = (1e-5, 0.1),
    widths: Sequence[int] = (128, 256, 256),
    depth: int = 2,
    embed_dim: int = 128,
    encoder: dict | None = None,
    head: dict | None = None,
    **options: Any,
) -> TemporalDetector:
    """The detector of T-MAE on two frames; arguments as :func:`gd_mae_centerpoint`, ``encoder`` of SiamWCA."""
    tokenizer, bev = _pyramid_parts(point_range, pillar, in_channels, vfe_channels, vfe_norm, widths, embed_dim)
    center = _center_of_pyramid(classes, point_range, embed_dim, head)
    return TemporalDetector(tokenizer, SiamWCA(widths[0], widths, depth, **(encoder or {})), bev, center, **options)


def _pyramid_parts(
    point_range: Sequence[float],
    pillar: float,
    in_channels: int,
    vfe_channels: Sequence[int],
    vfe_norm: Sequence[float],
    widths: Sequence[int],
    embed_dim: int,
) -> tuple[VoxelTokenizer, BEVSequential]:
    """What the detectors of GD-MAE and T-MAE share: tokenizer and two-dimensional network."""
    vfe = PillarMlp(in_channels, (*vfe_channels, widths[0]), norm_eps=vfe_norm[0], norm_momentum=vfe_norm[1])
    tokenizer = VoxelTokenizer(point_range, (pillar, pillar, point_range[5] - point_range[2]), vfe)
    convs = AttachedConvs(embed_dim, embed_dim, (1, 1, 2, 1), residual=(0, 1, 2))
    return tokenizer, BEVSequential([DenseFusion(widths, embed_dim), convs])


def _center_of_pyramid(
    classes: Sequence[str], point_range: Sequence[float], embed_dim: int, head: dict | None
) -> CenterHead:
    """Their centre head, with the biases that their files hold."""
    suppression = {"threshold": 0.7, "before": 4096, "after": 500}
    options = {"bias_before_norm": True, "suppression": suppression, **(head or {})}
    return CenterHead(embed_dim, classes, point_range, **options)


@MODELS.register_module()
def centerpoint_tiny(
    classes: Sequence[str] = NUSCENES_CLASSES,
    point_range: Sequence[float] = (-25.6, -25.6, -5.0, 25.6, 25.6, 3.0),
    voxel_size: Sequence[float] = (0.8, 0.8, 8.0),
    in_channels: int = 4,
    width: int = 32,
    **options: Any,
) -> Detector:
    """A pillar CenterPoint that learns in seconds on a CPU, with velocities.

    Args:
        classes: Names; one group.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        voxel_size: (x, y, z), metres, one cell high.
        in_channels: Columns of the points.
        width: Channels of the map.
        **options: Of :class:`Detector`.
    """
    tokenizer = VoxelTokenizer(point_range, voxel_size, DynamicVFE(in_channels, (width // 2, width)))
    bev = BaseBEVBackbone(width, (1, 1), (1, 2), (width, width), (1, 2), (width, width))
    head = CenterHead(
        bev.out_channels,
        classes,
        point_range,
        velocity=True,
        shared_channels=width,
        loc_weight=1.0,
        suppression={"threshold": 0.2, "before": 500, "after": 100},
    )
    detector = Detector(tokenizer, None, bev, head, **options)
    for module in detector.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 0.1  # 0.01 needs more steps than a short run has
    return detector
