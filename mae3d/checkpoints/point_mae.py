"""Official Point-MAE files (Pang-Yatian/Point-MAE): pre-training, classification, part segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import HEAD_WIDTH, count
from mae3d.models.heads import PointMAEClassifier, PointMAESegmenter
from mae3d.models.methods import PointMAE


def encoder_rules(prefix: str = "", ours: str = "") -> list[Rule]:
    """Patch embedding, positions and encoder of every system of the family."""
    return [
        Rule(f"{prefix}encoder.first_conv", f"{ours}tokenizer.embedding.first", convolution=1),
        Rule(f"{prefix}encoder.second_conv", f"{ours}tokenizer.embedding.second", convolution=1),
        Rule(f"{prefix}pos_embed", f"{ours}position_embedding"),
        Rule(f"{prefix}blocks.blocks", f"{ours}encoder.blocks"),
        Rule(f"{prefix}norm", f"{ours}encoder.norm"),
    ]


PRETRAIN = KeyMap(
    [
        *encoder_rules("MAE_encoder."),
        Rule("mask_token", "decoder.mask_token"),
        Rule("decoder_pos_embed", "decoder.position_embedding"),
        Rule("MAE_decoder.blocks", "decoder.transformer.blocks"),
        Rule("MAE_decoder.norm", "decoder.transformer.norm"),
        Rule("increase_dim.0", "prediction", convolution=1),
    ]
)
CLASSIFICATION = KeyMap(
    [
        *encoder_rules(),
        Rule("cls_token", "encoder.class_token"),
        Rule("cls_pos", "encoder.class_position"),
        Rule("cls_head_finetune", "head"),
    ]
)
PART_SEGMENTATION = KeyMap(
    [
        *encoder_rules(),
        Rule("label_conv", "category_embedding", convolution=1),
        Rule("propagation_0.mlp_convs", "propagation.linears", convolution=1),
        Rule("propagation_0.mlp_bns", "propagation.norms"),
        Rule("convs1", "head.linear1", convolution=1),
        Rule("convs2", "head.linear2", convolution=1),
        Rule("convs3", "head.linear3", convolution=1),
        Rule("bns1", "head.norm1"),
        Rule("bns2", "head.norm2"),
    ]
)


def encoder_size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Width, depth and heads of the encoder, read off the shapes of our names."""
    width = state["encoder.norm.weight"].shape[0]
    return {"embed_dim": width, "depth": count(state, "encoder.blocks"), "num_heads": max(1, width // HEAD_WIDTH)}


def _pretrain(state: Mapping[str, Tensor]) -> nn.Module:
    size = encoder_size(state)
    return PointMAE(
        **size,
        group_size=state["prediction.weight"].shape[0] // 3,
        decoder_depth=count(state, "decoder.transformer.blocks"),
        decoder_num_heads=size["num_heads"],
    )


def _classification(state: Mapping[str, Tensor]) -> nn.Module:
    last = count(state, "head") - 1
    kind = {0: "linear", 3: "mlp2"}.get(last, "mlp3")
    return PointMAEClassifier(state[f"head.{last}.weight"].shape[0], head=kind, **encoder_size(state))


def _part_segmentation(state: Mapping[str, Tensor]) -> nn.Module:
    size = encoder_size(state)
    joined = state["propagation.linears.0.weight"].shape[1] - 3
    levels = joined // size["embed_dim"]
    return PointMAESegmenter(
        state["head.linear3.weight"].shape[0],
        state["category_embedding.0.weight"].shape[1],
        layers=[size["depth"] * (i + 1) // levels - 1 for i in range(levels)],
        **size,
    )


LAYOUTS = (
    Layout("pretrain", PRETRAIN, "increase_dim.0.weight", "prediction.weight", _pretrain),
    Layout("classification", CLASSIFICATION, "cls_pos", "encoder.class_token", _classification),
    Layout(
        "part_segmentation",
        PART_SEGMENTATION,
        "convs3.weight",
        "head.linear3.weight",
        _part_segmentation,
        wrapper="model_state_dict",
        prefix="",
    ),
)
