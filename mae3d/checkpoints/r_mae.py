"""Official R-MAE files (OpenPCDet layout): pre-training with either encoder, weights of spconv 1 or 2."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.models.layers.sparse_conv import weight_from_spconv1
from mae3d.models.methods import RMAE

PRETRAIN = KeyMap(
    [
        Rule("backbone_3d", "encoder"),
        *(Rule(f"backbone_3d.deconv{stage}", f"decoder.deconv{stage}") for stage in (1, 2, 3)),
    ]
)
FIRST = "backbone_3d.conv_input.0.weight"
"""Its kernel is 3 x 3 x 3: [out, 3, 3, 3, in] with spconv 2, [3, 3, 3, in, out] with spconv 1."""


def to_spconv2(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the sparse weights of spconv 1 in the layout of spconv 2; others as they are.

    Dense transposed convolutions have five axes too, but the same layout in all files.
    """
    first = official.get(FIRST)
    if first is None or first.dim() != 5 or first.shape[1:4] == (3, 3, 3) or first.shape[:3] != (3, 3, 3):
        return dict(official)
    return {
        name: weight_from_spconv1(value) if value.dim() == 5 and ".deconv" not in name else value
        for name, value in official.items()
    }


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    return RMAE(
        num_features=state["encoder.conv_input.0.weight"].shape[-1],
        encoder="residual" if "encoder.conv1.0.conv1.weight" in state else "plain",
        decoder_channels=[state[f"decoder.deconv{stage}.0.weight"].shape[1] for stage in (1, 2)],
    )


LAYOUTS = (
    Layout(
        "pretrain",
        PRETRAIN,
        "backbone_3d.deconv1.0.weight",
        "decoder.deconv1.0.weight",
        _pretrain,
        wrapper="model_state",
        prefix="",
        constants={"global_step": torch.zeros(1, dtype=torch.int64)},
        prepare=to_spconv2,
    ),
)
