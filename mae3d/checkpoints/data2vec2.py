"""Official data2vec 2.0 files (fairseq, examples/data2vec): pre-training of each modality, fine-tuned images.

The weights are under ``model``, the teacher's in a dict ``_ema`` among them. Blocks that the official model counts as a
modality's own ("prenet") precede the others here. The number of updates, which sets the teacher's decay, is not read:
training that goes on from an official file anneals from the start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import count, encoder_size
from mae3d.models.heads import Data2Vec2Classifier
from mae3d.models.methods import Data2Vec2Image

State = Mapping[str, Tensor]

OWN_BLOCKS = {("IMAGE", 12): 2, ("AUDIO", 24): 8}
"""First blocks that are the modality's own, by modality and depth, where a published model has some. Files do not tell;
other sizes are written without, which officially computes the same."""


def _stacked(state: State, place: str) -> dict[str, Tensor]:
    """Official names with the modality's own blocks and the others in one list ``encoder_blocks``."""
    result = {}
    for name, value in state.items():
        root = re.match(r"(_ema\.|model\.)?", name)[0]
        own = f"{root}{place}.context_encoder.blocks"
        if name.startswith(f"{root}blocks."):
            number, rest = name.removeprefix(f"{root}blocks.").split(".", 1)
            result[f"{root}encoder_blocks.{int(number) + count(state, own)}.{rest}"] = value
        else:
            result[name.replace(own, f"{root}encoder_blocks", 1)] = value
    return result


def _split(state: State, place: str, modality: str) -> dict[str, Tensor]:
    """Inverse of :func:`_stacked`."""
    result = {}
    for name, value in state.items():
        found = re.match(r"(_ema\.|model\.)?encoder_blocks\.(\d+)\.(.*)", name)
        if found:
            root, number, rest = found[1] or "", int(found[2]), found[3]
            own = OWN_BLOCKS.get((modality, count(state, f"{root}encoder_blocks")), 0)
            name = f"{root}{place}.context_encoder.blocks.{number}.{rest}"
            if number >= own:
                name = f"{root}blocks.{number - own}.{rest}"
        result[name] = value
    return result


def _image_rules(root: str = "", ours: str = "") -> list[Rule]:
    place = f"{root}modality_encoders.IMAGE"
    return [
        Rule(f"{place}.extra_tokens", f"{ours}encoder.class_token"),
        Rule(f"{place}.local_encoder.proj", f"{ours}tokenizer.projection"),
        Rule(f"{place}.fixed_positional_encoder.positions", f"{ours}position_embedding.table"),
        Rule(f"{place}.context_encoder.norm", f"{ours}encoder.input_norm"),
        Rule(f"{root}encoder_blocks", f"{ours}encoder.blocks"),
    ]


def _decoder_rules(modality: str) -> list[Rule]:
    place = f"modality_encoders.{modality}.decoder"
    return [Rule(f"{place}.blocks", "decoder.blocks"), Rule(f"{place}.proj", "prediction")]


def _pretrain(
    modality: str, keys: KeyMap, official_marker: str, our_marker: str, build: Callable[[State], nn.Module]
) -> Layout:
    place = f"modality_encoders.{modality}"

    def prepare(state: State) -> dict[str, Tensor]:
        return {**_stacked(_renewed(state), place), "forwards": torch.zeros((), dtype=torch.int64)}

    def restore(state: State) -> dict[str, Tensor]:
        return _split({name: value for name, value in state.items() if name != "forwards"}, place, modality)

    kind = f"pretrain_{modality.lower()}"
    return Layout(
        kind,
        keys,
        official_marker,
        our_marker,
        build,
        wrapper="model",
        prefix="",
        prepare=prepare,
        restore=restore,
        nested=("_ema",),
    )


def _renewed(state: State) -> dict[str, Tensor]:
    """Names and shapes of older files brought to those of the published ones."""
    result = {}
    for name, value in state.items():
        name = name.replace(".positional_encoder.pos_embed", ".fixed_positional_encoder.positions")
        result[name] = value.unsqueeze(0) if name.endswith("alibi_scale") and value.dim() == 4 else value
    return result


def _image_size(state: State) -> dict[str, Any]:
    embedding = state["tokenizer.projection.weight"]  # [D, channels, p, p]
    side = math.isqrt(state["position_embedding.table"].shape[1]) * embedding.shape[-1]
    size = {"patch_size": embedding.shape[-1], "in_channels": embedding.shape[1], "image_size": side}
    return {**encoder_size(state), **size}


def _image(state: State) -> nn.Module:
    size = _image_size(state)
    first = state["decoder.blocks.0.0.weight"]  # [C, inputs / groups, k, k]
    return Data2Vec2Image(
        **size,
        decoder_dim=first.shape[0],
        decoder_depth=count(state, "decoder.blocks"),
        decoder_kernel=first.shape[-1],
        decoder_groups=size["embed_dim"] // first.shape[1],
        target_layers=1,
    )


def _classifier(state: State) -> nn.Module:
    return Data2Vec2Classifier(state["head.weight"].shape[0], **_image_size(state))


IMAGE = _pretrain(
    "IMAGE",
    KeyMap(
        [
            *_image_rules(),
            *_image_rules("_ema.", "teacher.model."),
            *_decoder_rules("IMAGE"),
            Rule("forwards", "teacher.forwards"),
        ]
    ),
    "modality_encoders.IMAGE.decoder.proj.weight",
    "encoder.class_token",
    _image,
)
CLASSIFIER = Layout(
    "fine_tune_image",
    KeyMap([*_image_rules("model."), Rule("fc_norm", "norm"), Rule("head", "head")]),
    "fc_norm.weight",
    "norm.weight",
    _classifier,
    wrapper="model",
    prefix="",
    prepare=lambda state: _stacked(_renewed(state), "modality_encoders.IMAGE"),
    restore=lambda state: _split(state, "modality_encoders.IMAGE", "IMAGE"),
)
LAYOUTS = (CLASSIFIER, IMAGE)
