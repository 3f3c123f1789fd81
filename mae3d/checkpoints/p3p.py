"""Official P3P files (XuechaoChen/P3P-MAE): pre-training and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import count
from mae3d.models.heads.p3p import P3PClassifier
from mae3d.models.methods import P3P

HEAD_WIDTH = {384: 64, 768: 64, 480: 30}
"""Channels per attention head of the published widths; files do not record it and conversion does not depend on it."""

_ENCODER = [
    Rule("cls_token", "encoder.class_token"),
    Rule("patch_embed.proj_weights", "tokenizer.weight"),
    Rule("patch_embed.pos_embed_enc", "position_embedding"),
    Rule("blocks", "encoder.blocks"),
    Rule("norm", "encoder.norm"),
]
PRETRAIN = KeyMap(
    [
        *_ENCODER,
        Rule("mask_token", "decoder.mask_token"),
        Rule("patch_embed.pos_embed_dec", "decoder.position_embedding"),
        Rule("decoder_embed", "decoder.projection"),
        Rule("decoder_blocks", "decoder.transformer.blocks"),
        Rule("decoder_norm", "decoder.transformer.norm"),
        Rule("decoder_pred", "prediction.voxels"),
        Rule("occupancy_pred", "prediction.occupancy"),
    ]
)
CLASSIFICATION = KeyMap([*_ENCODER, Rule("pos_embed_cls", "encoder.class_position"), Rule("head", "head")])


def _size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of tokenizer and encoder, read off the shapes of our names; the published grid has 14 patches a side."""
    places, channels, width = state["tokenizer.weight"].shape
    side = round(places ** (1 / 3))
    return {
        "embed_dim": width,
        "depth": count(state, "encoder.blocks"),
        "num_heads": max(1, width // HEAD_WIDTH.get(width, 64)),
        "color": channels == 12,
        "cells": 14 * side,
        "patch_size": side,
    }


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    width = state["decoder.projection.weight"].shape[0]
    return P3P(
        **_size(state),
        decoder_dim=width,
        decoder_depth=count(state, "decoder.transformer.blocks"),
        decoder_num_heads=max(1, width // HEAD_WIDTH.get(width, 64)),
    )


def _classification(state: Mapping[str, Tensor]) -> nn.Module:
    return P3PClassifier(state["head.weight"].shape[0], **_size(state))


LAYOUTS = (
    Layout("pretrain", PRETRAIN, "occupancy_pred.weight", "prediction.occupancy.weight", _pretrain),
    Layout("classification", CLASSIFICATION, "pos_embed_cls", "encoder.class_position", _classification),
)
