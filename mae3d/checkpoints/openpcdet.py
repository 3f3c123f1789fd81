"""Detectors of OpenPCDet: SECOND and CenterPoint on KITTI, Waymo, ONCE and nuScenes, with voxels or pillars."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.r_mae import to_spconv2
from mae3d.models.heads.detection import (
    centerpoint_kitti,
    centerpoint_nuscenes,
    centerpoint_pillar,
    centerpoint_waymo,
    second_kitti,
    second_nuscenes,
    second_once,
    second_waymo,
)

DETECTOR = KeyMap(
    [
        Rule("vfe.pfn_layers", "tokenizer.encoder.layers"),
        Rule("backbone_3d", "encoder"),
        Rule("backbone_2d", "bev_backbone"),
        Rule("dense_head", "head"),
    ]
)
NUSCENES_GROUPS = 6
SECOND_SCORES = {18: second_waymo, 50: second_once, 140: second_nuscenes}
"""Channels of the score map (anchors x classes) -> detector; KITTI has as many as Waymo but one column less."""


def _second(state: Mapping[str, Tensor]) -> nn.Module:
    columns, channels = state["encoder.conv_input.0.weight"].shape[-1], len(state["head.conv_cls.weight"])
    if channels == 18 and columns == 4:
        return second_kitti()
    return SECOND_SCORES.get(channels, second_waymo)(columns)


def _centerpoint(state: Mapping[str, Tensor]) -> nn.Module:
    first = "encoder.conv_input.0.weight"
    if first not in state:
        points = "tokenizer.encoder.layers.0.linear.weight"
        return centerpoint_pillar(in_channels=state[points].shape[1] - 6)
    groups = {name.split(".")[2] for name in state if name.startswith("head.heads_list.")}
    build = centerpoint_nuscenes if len(groups) == NUSCENES_GROUPS else centerpoint_waymo
    if "bev_backbone.blocks.1.1.weight" not in state:
        build = centerpoint_kitti
    return build(
        state[first].shape[-1], "encoder.conv1.0.conv1.bias" in state, head_bias="head.shared_conv.0.bias" in state
    )


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
        official_absent=("backbone_3d.sst_blocks.0.conv_out.0.weight",),  # GD-MAE and T-MAE
        our_absent=("encoder.stages.0.out.0.weight",),
    )


LAYOUTS = (
    _layout("second", "conv_cls.weight", _second),
    _layout("centerpoint", "shared_conv.0.weight", _centerpoint),
)
