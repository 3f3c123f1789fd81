"""Official MAE files (facebookresearch/mae): pre-training, encoder only, fine-tuned, linear probe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import decoder_size, encoder_rules, encoder_size, join_first_row, split_first_row
from mae3d.models.heads import MAEClassifier
from mae3d.models.methods import MAE
from mae3d.models.methods.mae import encoder_parts

TABLES = ("pos_embed", "decoder_pos_embed")

ENCODER = [
    *encoder_rules(),
    Rule("cls_token", "encoder.class_token"),
    Rule("pos_embed.first", "encoder.class_position"),
    Rule("pos_embed.rest", "position_embedding.table"),
]
PRETRAIN = KeyMap(
    [
        *ENCODER,
        Rule("decoder_embed", "decoder.projection"),
        Rule("mask_token", "decoder.mask_token"),
        Rule("decoder_pos_embed.first", "decoder.class_position"),
        Rule("decoder_pos_embed.rest", "decoder.position_embedding.table"),
        Rule("decoder_blocks", "decoder.transformer.blocks"),
        Rule("decoder_norm", "decoder.transformer.norm"),
        Rule("decoder_pred", "prediction"),
    ]
)
PROBE = KeyMap([*ENCODER, Rule("head.0", "norm"), Rule("head.1", "head")])
CLASSIFICATION = KeyMap([*ENCODER, Rule("fc_norm", "norm"), Rule("head", "head")])


def _size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    embedding = state["tokenizer.projection.weight"]  # [D, channels, p, p]
    side = math.isqrt(state["position_embedding.table"].shape[1]) * embedding.shape[-1]
    return {
        **encoder_size(state),
        "patch_size": embedding.shape[-1],
        "in_channels": embedding.shape[1],
        "image_size": side,
    }


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    return MAE(**_size(state), **decoder_size(state), mean=0.0, std=1.0)  # of any number of channels


def _encoder(state: Mapping[str, Tensor]) -> nn.Module:
    return nn.ModuleDict(encoder_parts(**_size(state)))


def _classifier(protocol: str):
    return lambda state: MAEClassifier(state["head.weight"].shape[0], protocol, **_size(state))


def _layout(kind: str, keys: KeyMap, official_marker: str, our_marker: str, build) -> Layout:
    return Layout(
        kind,
        keys,
        official_marker,
        our_marker,
        build,
        wrapper="model",
        prefix="",
        prepare=lambda state: split_first_row(state, TABLES),
        restore=lambda state: join_first_row(state, TABLES),
    )


LAYOUTS = (  # the first whose marker is in a file is its kind
    _layout("pretrain", PRETRAIN, "decoder_pred.weight", "prediction.weight", _pretrain),
    _layout("linear_probe", PROBE, "head.1.weight", "norm.running_mean", _classifier("linear_probe")),
    _layout("fine_tune", CLASSIFICATION, "fc_norm.weight", "norm.weight", _classifier("fine_tune")),
    _layout("class_token", CLASSIFICATION, "head.weight", "head.weight", _classifier("class_token")),
    _layout("encoder", KeyMap(ENCODER), "cls_token", "encoder.class_token", _encoder),
)
