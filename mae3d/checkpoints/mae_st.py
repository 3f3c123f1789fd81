"""Official MAE-ST files (facebookresearch/mae_st, written by PySlowFast): pre-training and fine-tuned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import decoder_size, encoder_rules, encoder_size, join_projections, split_projections
from mae3d.models.heads import MAESTClassifier
from mae3d.models.methods import MAEST

ENCODER = [
    *encoder_rules(),
    Rule("cls_token", "encoder.class_token"),
    Rule("pos_embed_class", "encoder.class_position"),
    Rule("pos_embed_spatial", "position_embedding.spatial"),
    Rule("pos_embed_temporal", "position_embedding.temporal"),
]
PRETRAIN = KeyMap(
    [
        *ENCODER,
        Rule("decoder_embed", "decoder.projection"),
        Rule("mask_token", "decoder.mask_token"),
        Rule("decoder_cls_token", "decoder.class_token"),
        Rule("decoder_pos_embed_class", "decoder.class_position"),
        Rule("decoder_pos_embed_spatial", "decoder.position_embedding.spatial"),
        Rule("decoder_pos_embed_temporal", "decoder.position_embedding.temporal"),
        Rule("decoder_blocks", "decoder.transformer.blocks"),
        Rule("decoder_norm", "decoder.transformer.norm"),
        Rule("decoder_pred", "prediction"),
    ]
)
CLASSIFICATION = KeyMap([*ENCODER, Rule("head.projection", "head")])


def _size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    tubelet = state["tokenizer.projection.weight"].shape[2:]
    slots, places = (state[f"position_embedding.{axis}"].shape[1] for axis in ("temporal", "spatial"))
    side = math.isqrt(places) * tubelet[-1]
    return {**encoder_size(state), "tubelet": tuple(tubelet), "clip_size": (slots * tubelet[0], side, side)}


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    size = _size(state)
    pixels = 3 * size["tubelet"][1] * size["tubelet"][2]
    share = state["prediction.weight"].shape[0] // pixels  # frames that a token predicts
    slots = size["clip_size"][0] // size["tubelet"][0]
    return MAEST(**size, **decoder_size(state), predicted_frames=share * slots)


def _fine_tune(state: Mapping[str, Tensor]) -> nn.Module:
    return MAESTClassifier(state["head.weight"].shape[0], **_size(state))


def _prepare(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """One projection per block; the head's name as PySlowFast writes it (the official loader accepts both)."""
    plain = (
        {name.replace("head.", "head.projection."): value for name, value in state.items()}
        if ("head.weight" in state)
        else state
    )
    return join_projections(plain)


LAYOUTS = (
    Layout(
        "pretrain",
        PRETRAIN,
        "decoder_pos_embed_spatial",
        "prediction.weight",
        _pretrain,
        wrapper="model_state",
        prefix="",
        prepare=_prepare,
        restore=split_projections,
    ),
    Layout(
        "fine_tune",
        CLASSIFICATION,
        "pos_embed_spatial",
        "head.weight",
        _fine_tune,
        wrapper="model_state",
        prefix="",
        prepare=_prepare,
        restore=split_projections,
    ),
)
