"""Detectors of OpenPCDet: SECOND on KITTI, CenterPoint on nuScenes and Waymo, with voxels or pillars."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.r_mae import to_spconv2
from mae3d.models.heads.detection import centerpoint_nuscenes, centerpoint_pillar, centerpoint_waymo, second_kitti

DETECTOR = KeyMap(
    [
        Rule("vfe.pfn_layers", "tokenizer.encoder.layers"),
        Rule("backbone_3d", "encoder"),
        Rule("backbone_2d", "bev_backbone"),
        Rule("dense_head", "head"),
    ]
)
NUSCENES_GROUPS = 6


def _second(state: Mapping[str, Tensor]) -> nn.Module:
    return second_kitti()


def _centerpoint(state: Mapping[str, Tensor]) -> nn.Module:
    first = "encoder.conv_input.0.weight"
    if first not in state:
        points = "tokenizer.encoder.layers.0.linear.weight"
        return centerpoint_pillar(in_channels=state[points].shape[1] - 6)
    groups = {name.split(".")[2] for name in state if name.startswith("head.heads_list.")}
    build = centerpoint_nuscenes if len(groups) == NUSCENES_GROUPS else centerpoint_waymo
    return build(state[first].shape[-1], "encoder.conv1.0.conv1.bias" in state)


def _layout(kind: str, marker: str, build) -> Layout:
    return Layout(
        kind,
        DETECTOR,
        f"dense_head.{marker}",
        f"head.{marker}",
        build,
        wrapper="model_state",
        prefix="",
        constants={"global_step": torch.zeros(1, dtype=torch.int64)},
        prepare=to_spconv2,
    )


LAYOUTS = (
    _layout("second", "conv_cls.weight", _second),
    _layout("centerpoint", "shared_conv.0.weight", _centerpoint),
)
