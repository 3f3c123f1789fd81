"""Official VideoMAE files (MCG-NJU/VideoMAE): pre-training and fine-tuned.

Position tables are in neither. Files of fine-tuning under deepspeed hold their weights under ``module``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import decoder_size, encoder_rules, encoder_size
from mae3d.models.heads import VideoMAEClassifier
from mae3d.models.methods import VideoMAE

PRETRAIN = KeyMap(
    [
        *encoder_rules("encoder."),
        Rule("encoder_to_decoder", "decoder.projection"),
        Rule("mask_token", "decoder.mask_token"),
        Rule("decoder.blocks", "decoder.transformer.blocks"),
        Rule("decoder.norm", "decoder.transformer.norm"),
        Rule("decoder.head", "prediction"),
    ]
)
CLASSIFICATION = KeyMap([*encoder_rules(), Rule("fc_norm", "norm"), Rule("head", "head")])


def _size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {**encoder_size(state), "tubelet": tuple(state["tokenizer.projection.weight"].shape[2:])}


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    return VideoMAE(**_size(state), **decoder_size(state))


def _fine_tune(state: Mapping[str, Tensor]) -> nn.Module:
    return VideoMAEClassifier(state["head.weight"].shape[0], **_size(state))


LAYOUTS = (
    Layout(
        "pretrain",
        PRETRAIN,
        "encoder_to_decoder.weight",
        "decoder.projection.weight",
        _pretrain,
        wrapper="model",
        prefix="",
    ),
    Layout("fine_tune", CLASSIFICATION, "fc_norm.weight", "norm.weight", _fine_tune, wrapper="module", prefix=""),
)
