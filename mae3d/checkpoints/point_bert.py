"""Official Point-BERT files (lulutang0608/Point-BERT): dVAE, pre-training, classification, part segmentation.

Our counters of batches have no place in them: they are left out on writing and start at 0 on reading, so that training
that goes on from an official file anneals the dVAE from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.point_mae import encoder_rules, encoder_size
from mae3d.checkpoints.vit_files import count
from mae3d.models.decoders.folding import SIDE
from mae3d.models.heads import PointBERTClassifier, PointBERTSegmenter
from mae3d.models.methods import PointBERT, PointDVAE

State = Mapping[str, Tensor]


def _graph_rules(official: str, ours: str) -> list[Rule]:
    edges = [
        Rule(f"{official}.layer{number + 1}.{place}", f"{ours}.blocks.{number}.{part}", convolution=axes)
        for number in range(4)
        for place, part, axes in ((0, "linear", 2), (1, "norm", 0))
    ]
    return [
        Rule(f"{official}.input_trans", f"{ours}.input", convolution=1),
        *edges,
        Rule(f"{official}.layer5", f"{ours}.output", convolution=1),
    ]


def _dvae_rules(official: str = "", ours: str = "") -> list[Rule]:
    return [
        Rule(f"{official}encoder.first_conv", f"{ours}tokenizer.embedding.first", convolution=1),
        Rule(f"{official}encoder.second_conv", f"{ours}tokenizer.embedding.second", convolution=1),
        *_graph_rules(f"{official}dgcnn_1", f"{ours}encoder"),
        Rule(f"{official}codebook", f"{ours}codebook"),
        *_graph_rules(f"{official}dgcnn_2", f"{ours}graph"),
        Rule(f"{official}decoder.mlp", f"{ours}decoder.coarse"),
        Rule(f"{official}decoder.final_conv", f"{ours}decoder.fold", convolution=1),
        Rule(f"{official}batches", f"{ours}batches"),
    ]


def _encoder_rules(official: str = "", ours: str = "") -> list[Rule]:
    return [
        *encoder_rules(official, ours),
        Rule(f"{official}reduce_dim", f"{ours}tokenizer.projection"),
        Rule(f"{official}cls_token", f"{ours}encoder.class_token"),
        Rule(f"{official}cls_pos", f"{ours}encoder.class_position"),
    ]


def _network_rules(official: str, ours: str) -> list[Rule]:
    return [
        *_encoder_rules(official, ours),
        Rule(f"{official}mask_token", f"{ours}mask_token.token"),
        Rule(f"{official}lm_head", f"{ours}prediction"),
        Rule(f"{official}cls_head", f"{ours}contrast"),
    ]


PRETRAIN = KeyMap(
    [
        *_network_rules("transformer_q.", ""),
        *_network_rules("transformer_k.", "teacher.model."),
        Rule("teacher.forwards", "teacher.forwards"),
        Rule("queue", "queue.keys"),
        Rule("queue_ptr", "queue.pointer"),
        *_dvae_rules("dvae.", "target.dvae."),
    ]
)
CLASSIFICATION = KeyMap([*_encoder_rules(), Rule("cls_head_finetune", "head")])
PART_SEGMENTATION = KeyMap(
    [
        *_encoder_rules(),
        *(
            Rule(f"propagation_{number}.{official}", f"propagation.{number}.{ours}", convolution=axes)
            for number in range(3)
            for official, ours, axes in (("mlp_convs", "linears", 1), ("mlp_bns", "norms", 0))
        ),
        *(
            Rule(f"dgcnn_pro_{number + 1}.layer{layer}.{place}", f"upsampling.{number}.{edge}.{part}", convolution=axes)
            for number in range(2)
            for layer, edge in ((1, "across"), (2, "within"))
            for place, part, axes in ((0, "linear", 2), (1, "norm", 0))
        ),
        Rule("conv1", "head.0", convolution=1),
        Rule("bn1", "head.1"),
        Rule("conv2", "head.4", convolution=1),
    ]
)


def _size(state: State) -> dict[str, Any]:
    return {**encoder_size(state), "patch_dim": state["tokenizer.projection.weight"].shape[1]}


def _dvae(state: State, place: str = "") -> PointDVAE:
    num_codes, width = state[f"{place}codebook"].shape
    return PointDVAE(
        group_size=state[f"{place}decoder.coarse.4.weight"].shape[0] * SIDE**2 // 3,
        embed_dim=width,
        num_codes=num_codes,
        graph_dim=state[f"{place}graph.input.weight"].shape[0],
        decoder_dim=state[f"{place}decoder.coarse.0.weight"].shape[0],
    )


def _pretrain(state: State) -> nn.Module:
    contrast_dim, queue_length = state["queue.keys"].shape
    dvae = _dvae(state, "target.dvae.")
    size = {**_size(state), "group_size": dvae.tokenizer.group_size}
    return PointBERT(dvae, **size, contrast_dim=contrast_dim, queue_length=queue_length)


def _classification(state: State) -> nn.Module:
    last = count(state, "head") - 1
    kind = {0: "linear", 3: "mlp2"}.get(last, "mlp3")
    return PointBERTClassifier(state[f"head.{last}.weight"].shape[0], head=kind, **_size(state))


def _part_segmentation(state: State) -> nn.Module:
    size = _size(state)
    return PointBERTSegmenter(
        state["head.4.weight"].shape[0],
        state["propagation.0.linears.0.weight"].shape[1] - size["embed_dim"] - 3,
        hidden_dim=state["upsampling.0.across.linear.weight"].shape[0],
        **size,
    )


def _layout(kind: str, keys: KeyMap, markers: tuple[str, str], build: Any, counters: tuple[str, ...]) -> Layout:
    def prepare(state: State) -> dict[str, Tensor]:
        return {**state, **{name: torch.zeros((), dtype=torch.int64) for name in counters}}

    def restore(state: State) -> dict[str, Tensor]:
        return {name: value for name, value in state.items() if name not in counters}

    return Layout(kind, keys, *markers, build, prepare=prepare, restore=restore)


LAYOUTS = (
    _layout("dvae", KeyMap(_dvae_rules()), ("codebook", "codebook"), _dvae, ("batches",)),
    _layout("pretrain", PRETRAIN, ("queue_ptr", "queue.pointer"), _pretrain, ("dvae.batches", "teacher.forwards")),
    Layout(
        "part_segmentation",
        PART_SEGMENTATION,
        "dgcnn_pro_1.layer1.0.weight",
        "upsampling.0.across.linear.weight",
        _part_segmentation,
        wrapper="model_state_dict",
        prefix="",
    ),
    Layout("classification", CLASSIFICATION, "cls_head_finetune.0.weight", "head.0.bias", _classification),
)
