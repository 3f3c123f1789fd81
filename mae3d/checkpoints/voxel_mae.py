"""Official Voxel-MAE files (georghess/voxel-mae): pre-training."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.models.methods import VoxelMAE

MAX_BLOCKS = 16
"""Pairs of layers that the key map covers; the published models have at most 8."""
HEAD_WIDTH = 16
"""Channels per attention head of the published size; files do not record it and conversion does not depend on it."""


def transformer_rules(official: str, ours: str) -> list[Rule]:
    """Names of one SST: pairs of layers there, one list of layers here."""
    rules = []
    for layer in range(2 * MAX_BLOCKS):
        old, new = f"{official}.block_list.{layer // 2}.encoder_list.{layer % 2}", f"{ours}.blocks.{layer}"
        rules += [
            Rule(f"{old}.win_attn.self_attn.in_proj_weight", f"{new}.attn.qkv.weight"),
            Rule(f"{old}.win_attn.self_attn.in_proj_bias", f"{new}.attn.qkv.bias"),
            Rule(f"{old}.win_attn.self_attn.out_proj", f"{new}.attn.proj"),
            Rule(f"{old}.linear1", f"{new}.mlp.fc1"),
            Rule(f"{old}.linear2", f"{new}.mlp.fc2"),
            Rule(f"{old}.norm1", f"{new}.norm1"),
            Rule(f"{old}.norm2", f"{new}.norm2"),
        ]
    return rules


ENCODER_RULES = [
    Rule("voxel_encoder.vfe_layers", "tokenizer.encoder.layers"),
    *transformer_rules("backbone", "encoder"),
]
"""What a detector shares with pre-training."""

PRETRAIN = KeyMap(
    [
        *ENCODER_RULES,
        *transformer_rules("neck", "decoder.transformer"),
        Rule("neck.mask_token", "decoder.mask_token"),
        Rule("bbox_head.conv_occupied", "prediction.occupancy", convolution=1),
        Rule("bbox_head.conv_num_points", "prediction.count", convolution=1),
        Rule("bbox_head.conv_chamfer", "prediction.points", convolution=1),
    ]
)


def _pairs(state: Mapping[str, Tensor], prefix: str) -> int:
    layers = [int(found[1]) for name in state if (found := re.match(rf"{re.escape(prefix)}\.(\d+)\.", name))]
    return (max(layers, default=-1) + 1) // 2


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    first, last = (state[f"tokenizer.encoder.layers.{layer}.linear.weight"] for layer in (0, 1))
    width = last.shape[0]
    heads = ("points", "count", "occupancy")
    return VoxelMAE(
        in_channels=first.shape[1] - 6,
        vfe_channels=(first.shape[0],),
        embed_dim=width,
        depth=_pairs(state, "encoder.blocks"),
        decoder_depth=_pairs(state, "decoder.transformer.blocks"),
        num_heads=max(1, width // HEAD_WIDTH),
        num_points=state["prediction.points.weight"].shape[0] // 3 if "prediction.points.weight" in state else 10,
        objectives={name: 1.0 for name in heads if f"prediction.{name}.weight" in state},
    )


LAYOUTS = (
    Layout(
        "pretrain",
        PRETRAIN,
        "neck.mask_token",
        "decoder.transformer.blocks.0.attn.qkv.weight",
        _pretrain,
        wrapper="state_dict",
        prefix="",
    ),
)
