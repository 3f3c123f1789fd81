"""Official Audio-MAE files (facebookresearch/AudioMAE): pre-training with either decoder, fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.mae import ENCODER, PRETRAIN, TABLES
from mae3d.checkpoints.vit_files import State, decoder_size, encoder_size, join_first_row, split_first_row
from mae3d.models.heads import AudioMAEClassifier
from mae3d.models.methods import AudioMAE

DECODER_CLASS_ROW = "decoder_pos_embed.first"
WINDOWS = KeyMap([rule for rule in PRETRAIN.rules if rule.official != DECODER_CLASS_ROW])
CLASSIFICATION = KeyMap([*ENCODER, Rule("fc_norm", "norm"), Rule("head", "head")])
BINS = 128
"""Mel bins of every published file; none records how its table divides into time and frequency."""


def _size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    patch = state["tokenizer.projection.weight"].shape[-1]
    count = state["position_embedding.table"].shape[1]
    bands = BINS // patch
    if not bands or count % bands:
        bands = 1
    size = {"patch_size": patch, "frames": count // bands * patch, "bins": bands * patch}
    return {**encoder_size(state), **size}


def _global(state: Mapping[str, Tensor]) -> nn.Module:
    return AudioMAE(**_size(state), decoder="global", **decoder_size(state))


def _windows(state: Mapping[str, Tensor]) -> nn.Module:
    heads = state["decoder.transformer.blocks.0.attn.tau"].shape[0]
    # Windows of one token fit any grid; no tensor depends on their size.
    options = {**decoder_size(state), "decoder_num_heads": heads, "window": (1, 1), "shift": (0, 0)}
    return AudioMAE(**_size(state), **options)


def _fine_tune(state: Mapping[str, Tensor]) -> nn.Module:
    return AudioMAEClassifier(state["head.weight"].shape[0], **_size(state))


def _split(state: State) -> dict[str, Tensor]:
    return split_first_row(state, TABLES)


def _join(state: State) -> dict[str, Tensor]:
    return join_first_row(state, TABLES)


def _without_class_row(state: State) -> dict[str, Tensor]:
    """The decoder's row for the class token is of no use where that token is dropped before the first block."""
    return {name: value for name, value in _split(state).items() if name != DECODER_CLASS_ROW}


def _with_class_row(state: State) -> dict[str, Tensor]:
    """It is zero, as in every official file."""
    table = state["decoder_pos_embed.rest"]
    return _join({**state, DECODER_CLASS_ROW: torch.zeros_like(table[:, :1])})


def _layout(kind: str, keys: KeyMap, official_marker: str, our_marker: str, build, **options: Any) -> Layout:
    return Layout(
        kind,
        keys,
        official_marker,
        our_marker,
        build,
        **{"wrapper": "model", "prefix": "", "prepare": _split, "restore": _join, **options},
    )


LAYOUTS = (  # the first whose marker is in a file is its kind
    _layout(
        "pretrain",
        WINDOWS,
        "decoder_blocks.0.attn.tau",
        "decoder.transformer.blocks.0.attn.tau",
        _windows,
        prepare=_without_class_row,
        restore=_with_class_row,
    ),
    _layout("pretrain_global", PRETRAIN, "decoder_pred.weight", "prediction.weight", _global),
    _layout("fine_tune", CLASSIFICATION, "fc_norm.weight", "norm.weight", _fine_tune),
)
