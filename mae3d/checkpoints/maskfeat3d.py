"""Official MaskFeat3D files (SimingYan/MaskFeat3D); those of fine-tuning are Point-MAE's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mae3d.checkpoints import point_mae
from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import count
from mae3d.models.methods import MaskFeat3D

State = Mapping[str, Tensor]

PRETRAIN = KeyMap(
    [
        *point_mae.encoder_rules("MAE_encoder."),
        Rule("decoder_pos_embed", "decoder.position_embedding"),
        Rule("MAE_decoder.blocks", "decoder.blocks"),
        Rule("MAE_decoder.norm", "decoder.norm"),
        Rule("prediction", "prediction"),
    ]
)
_ATTENTION = {
    ".multihead_attn.": ".memory_attn.",
    ".in_proj_": ".qkv.",
    ".out_proj.": ".proj.",
}
"""Parts of the official decoder's names -> ours."""
_HEADS = ("mlp_normal_output.0", "mlp_sv_output.0")
"""Official heads, whose rows one after the other are those of ours."""


def _prepare(state: State) -> dict[str, Tensor]:
    """Our names inside the decoder's attention, and one head for both outputs."""
    result = {_renamed(name, _ATTENTION): value for name, value in state.items()}
    for kind in ("weight", "bias"):
        parts = [f"{head}.{kind}" for head in _HEADS]
        if all(part in result for part in parts):
            result[f"prediction.{kind}"] = torch.cat([result.pop(part) for part in parts])
    return result


def _restore(state: State) -> dict[str, Tensor]:
    """Inverse of :func:`_prepare`."""
    result = {_renamed(name, {ours: theirs for theirs, ours in _ATTENTION.items()}): v for name, v in state.items()}
    for kind in ("weight", "bias"):
        for head, rows in zip(_HEADS, result.pop(f"prediction.{kind}").split((3, 1))):
            result[f"{head}.{kind}"] = rows
    return result


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    if name.startswith("MAE_decoder.blocks."):
        for old, new in parts.items():
            name = name.replace(old, new)
    return name


def _pretrain(state: State) -> nn.Module:
    size = point_mae.encoder_size(state)
    return MaskFeat3D(**size, decoder_depth=count(state, "decoder.blocks"), decoder_num_heads=size["num_heads"])


LAYOUTS = (
    Layout(
        "pretrain",
        PRETRAIN,
        "mlp_sv_output.0.weight",
        "prediction.weight",
        _pretrain,
        prepare=_prepare,
        restore=_restore,
    ),
    *(layout for layout in point_mae.LAYOUTS if layout.kind != "pretrain"),
)
