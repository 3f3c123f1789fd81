"""Official files of GD-MAE and T-MAE (OpenPCDet layout): pre-training and detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import count
from mae3d.models.heads.detection import (
    gd_mae_centerpoint,
    gd_mae_kitti_anchors,
    gd_mae_two_stage,
    t_mae_centerpoint,
)
from mae3d.models.methods import GDMAE, TMAE

Mark = tuple[str, ...]
Builder = Callable[[Mapping[str, Tensor]], nn.Module]
MAX_STAGES, MAX_BLOCKS = 3, 8
"""Stages and pairs of layers a stage that the key map covers; the published models have 3 and 2."""
MAX_EDGES = 8
"""Edge convolutions of the second stage that it covers; the published model has 3."""


def _layers(official: str, ours: str, kind: str, blocks: int) -> list[Rule]:
    """Names of pairs of layers there, one list of layers here."""
    rules = []
    for layer in range(2 * blocks):
        old, new = f"{official}.encoder_blocks.{layer // 2}.encoder_list.{layer % 2}", f"{ours}.{layer}"
        rules += [
            Rule(f"{old}.win_attn.{kind}.in_proj_weight", f"{new}.attn.qkv.weight"),
            Rule(f"{old}.win_attn.{kind}.in_proj_bias", f"{new}.attn.qkv.bias"),
            Rule(f"{old}.win_attn.{kind}.out_proj", f"{new}.attn.proj"),
            Rule(f"{old}.win_attn.{kind}.tau", f"{new}.attn.tau"),
            Rule(f"{old}.linear1", f"{new}.mlp.fc1"),
            Rule(f"{old}.linear2", f"{new}.mlp.fc2"),
            Rule(f"{old}.norm1", f"{new}.norm1"),
            Rule(f"{old}.norm2", f"{new}.norm2"),
        ]
    return rules


def _encoder() -> list[Rule]:
    """What detectors share with pre-training."""
    rules = [Rule("vfe.dvfe_mlps.0", "tokenizer.encoder.layers")]
    for k in range(MAX_STAGES):
        old, new = f"backbone_3d.sst_blocks.{k}", f"encoder.stages.{k}"
        rules += [Rule(f"{old}.conv_down", f"{new}.down"), Rule(f"{old}.conv_out", f"{new}.out")]
        rules += _layers(old, f"{new}.transformer.blocks", "self_attn", MAX_BLOCKS)
        old, new = f"backbone_3d.wca_blocks.{k}", f"encoder.cross.{k}"
        rules += [Rule(f"{old}.conv_out", f"{new}.out"), *_layers(old, f"{new}.blocks", "cross_attn", 1)]
    return rules


PRETRAIN = KeyMap(
    [
        *_encoder(),
        Rule("backbone_3d.decoder_deblocks", "decoder.fusion.deblocks"),
        Rule("backbone_3d.decoder_conv_out", "decoder.fusion.conv_out"),
        Rule("backbone_3d.decoder_pred", "prediction"),
    ]
)
DETECTOR = KeyMap(
    [
        *_encoder(),
        Rule("backbone_3d.deblocks", "bev_backbone.0.deblocks"),
        Rule("backbone_3d.conv_out", "bev_backbone.0.conv_out"),
        *(
            Rule(f"backbone_2d.conv_layer.{layer}.{number}", f"bev_backbone.1.conv_layer.{layer}.{name}")
            for layer in range(4)
            for number, name in ((0, "conv"), (1, "bn"))
        ),
        Rule("dense_head", "head"),
    ]
)
GRAPH = "roi_head.attn_gnn_layer"
TWO_STAGE = KeyMap(
    [
        *DETECTOR.rules,
        *(
            rule
            for k in range(MAX_EDGES)
            for rule in (
                Rule(f"{GRAPH}.edge_layes.{k}.0", f"refiner.edges.{k}.linear", convolution=2),
                Rule(f"{GRAPH}.edge_layes.{k}.1", f"refiner.edges.{k}.norm"),
            )
        ),
        Rule(f"{GRAPH}.calib", "refiner.gate", convolution=1),
        Rule(f"{GRAPH}.expansion", "refiner.expansion", convolution=1),
        Rule(f"{GRAPH}.reduction", "refiner.reduction", convolution=1),
        Rule(f"{GRAPH}.shortcut.conv1", "refiner.mixing.fc1", convolution=1),
        Rule(f"{GRAPH}.shortcut.conv2", "refiner.mixing.fc2", convolution=1),
        Rule(f"{GRAPH}.shortcut.norm1", "refiner.mixing.norm1"),
        Rule(f"{GRAPH}.shortcut.norm2", "refiner.mixing.norm2"),
        Rule("roi_head.shared_fc_layer", "refiner.shared", convolution=1),
        Rule("roi_head.cls_layers", "refiner.score", convolution=1),
        Rule("roi_head.reg_layers", "refiner.box", convolution=1),
    ]
)
COUNTER = "num_batches_tracked"


def _with_counters(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Norms of a frozen first stage are written without their counter of batches, which has no effect."""
    norms = [name.removesuffix("running_var") for name in official if name.endswith("running_var")]
    absent = (norm + COUNTER for norm in norms if norm + COUNTER not in official)
    return {**official, **{name: torch.zeros((), dtype=torch.int64) for name in absent}}


def _without_counters(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: only the second stage has counters."""
    return {name: v for name, v in official.items() if name.startswith("roi_head.") or not name.endswith(COUNTER)}


def _size(state: Mapping[str, Tensor]) -> dict[str, object]:
    """Arguments that both kinds of models share, from a state dict in our names."""
    first = state["tokenizer.encoder.layers.0.weight"]
    widths = [state[f"encoder.stages.{k}.out.0.weight"].shape[0] for k in range(MAX_STAGES)]
    return {
        "in_channels": first.shape[1] - 6,
        "vfe_channels": (first.shape[0],),
        "widths": widths,
        "depth": count(state, "encoder.stages.0.transformer.blocks") // 2,
    }


def _pretrain(system: type[GDMAE], state: Mapping[str, Tensor]) -> nn.Module:
    fused = state["decoder.fusion.conv_out.0.weight"].shape[0]
    points = state["prediction.weight"].shape[0] // 3
    return system(**_size(state), embed_dim=fused, num_points=points)


def _detector(build, state: Mapping[str, Tensor]) -> nn.Module:
    fused = state["bev_backbone.0.conv_out.0.weight"].shape[0]
    if "head.conv_cls.weight" in state:  # GD-MAE on KITTI
        size = {name: value for name, value in _size(state).items() if name != "in_channels"}
        return gd_mae_kitti_anchors(**size, embed_dim=fused)
    classes = state["head.heads_list.0.hm.1.weight"].shape[0]
    head = {"iou": "head.heads_list.0.iou.1.weight" in state}
    return build([str(number) for number in range(classes)], **_size(state), embed_dim=fused, head=head)


def _two_stage(state: Mapping[str, Tensor]) -> nn.Module:
    refiner = {
        "edge_channels": [
            state[f"refiner.edges.{k}.norm.weight"].shape[0] for k in range(count(state, "refiner.edges"))
        ],
        "gate_channels": state["refiner.gate.0.weight"].shape[0],
        "hidden_channels": state["refiner.expansion.0.weight"].shape[0],
        "embed_dim": state["refiner.box.weight"].shape[1],
    }
    return _detector(partial(gd_mae_two_stage, refiner=refiner), state)


def _layout(kind: str, official: Mark, ours: Mark, keys: KeyMap, build: Builder, **changes: Callable) -> Layout:
    return Layout(
        kind,
        keys,
        official[0],
        ours[0],
        build,
        wrapper="model_state",
        prefix="",
        constants={"global_step": torch.zeros(1, dtype=torch.int64)},
        official_absent=official[1:],
        our_absent=ours[1:],
        **changes,
    )


_PREDICTION = ("backbone_3d.decoder_pred.weight", "prediction.weight")
_STAGE = ("backbone_3d.sst_blocks.0.conv_out.0.weight", "encoder.stages.0.out.0.weight")
_CROSS = ("backbone_3d.wca_blocks.0.conv_out.0.weight", "encoder.cross.0.out.0.weight")
_REFINER = ("roi_head.cls_layers.weight", "refiner.score.weight")
_HEAD = ("dense_head.shared_conv.0.weight", "head.shared_conv.0.weight")


def _marks(*names: tuple[str, str]) -> tuple[Mark, Mark]:
    """The tensor that must be there and those that must not, official and ours."""
    return tuple(name[0] for name in names), tuple(name[1] for name in names)


GD_MAE = (
    _layout("pretrain", *_marks(_PREDICTION, _CROSS), PRETRAIN, partial(_pretrain, GDMAE)),
    _layout(
        "detector", *_marks(_STAGE, _PREDICTION, _CROSS, _REFINER), DETECTOR, partial(_detector, gd_mae_centerpoint)
    ),
    _layout(
        "two-stage",
        *_marks(_REFINER),
        TWO_STAGE,
        _two_stage,
        prepare=_with_counters,
        restore=_without_counters,
    ),
)
T_MAE = (
    _layout("pretrain", *_marks(_CROSS, _HEAD), PRETRAIN, partial(_pretrain, TMAE)),
    _layout("detector", *_marks(_CROSS, _PREDICTION), DETECTOR, partial(_detector, t_mae_centerpoint)),
)
