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
from mae3d.checkpoints.vit_files import HEAD_WIDTH, count, encoder_size
from mae3d.models.heads import Data2Vec2Classifier
from mae3d.models.methods import Data2Vec2Audio, Data2Vec2Image, Data2Vec2Text

State = Mapping[str, Tensor]

OWN_BLOCKS = {("IMAGE", 12): 2, ("AUDIO", 24): 8}
"""First blocks that are the modality's own, by modality and depth, where a published model has some. Files do not tell;
other sizes are written without, which officially computes the same."""

ROOTS = ("", "_ema.", "model.")
"""What names of blocks begin with: in pre-training files, for the teacher, in fine-tuned files."""

MOST_LAYERS = 16
"""Convolutions of a waveform or of positions that names are known for."""


def _stacked(state: State, place: str) -> dict[str, Tensor]:
    """Official names with the modality's own blocks and the others in one list ``encoder_blocks``."""
    result, before = {}, {root: count(state, f"{root}{place}.context_encoder.blocks") for root in ROOTS}
    for name, value in state.items():
        root = re.match(r"(_ema\.|model\.)?", name)[0]
        own = f"{root}{place}.context_encoder.blocks"
        found = re.match(r"(?:blocks\.)?(\d+)\.(.*)", name.removeprefix(root))  # a text's teacher is a list of blocks
        if found:
            result[f"{root}encoder_blocks.{int(found[1]) + before[root]}.{found[2]}"] = value
        else:
            result[name.replace(own, f"{root}encoder_blocks", 1)] = value
    return result


def _split(state: State, modality: str) -> dict[str, Tensor]:
    """Inverse of :func:`_stacked`."""
    result = {}
    own = {root: OWN_BLOCKS.get((modality, count(state, f"{root}encoder_blocks")), 0) for root in ROOTS}
    for name, value in state.items():
        found = re.match(r"(_ema\.|model\.)?encoder_blocks\.(\d+)\.(.*)", name)
        if found:
            root, number, rest = found[1] or "", int(found[2]), found[3]
            if number < own[root]:
                name = f"{root}modality_encoders.{modality}.context_encoder.blocks.{number}.{rest}"
            else:
                blocks = "" if (modality, root) == ("TEXT", "_ema.") else "blocks."
                name = f"{root}{blocks}{number - own[root]}.{rest}"
        result[name] = value
    return result


def _renewed(state: State) -> dict[str, Tensor]:
    """Names of older files brought to those of the published ones; the scale of ALiBi [H], whatever its axes."""
    return {
        name.replace(".positional_encoder.pos_embed", ".fixed_positional_encoder.positions"): (
            value.flatten() if name.endswith("alibi_scale") else value
        )
        for name, value in state.items()
    }


def _pretrain(
    modality: str, rules: list[Rule], official_marker: str, our_marker: str, build: Callable[[State], nn.Module]
) -> Layout:
    place = f"modality_encoders.{modality}"
    decoder = [Rule(f"{place}.decoder.blocks", "decoder.blocks"), Rule(f"{place}.decoder.proj", "prediction")]

    def prepare(state: State) -> dict[str, Tensor]:
        return {**_stacked(_renewed(state), place), "forwards": torch.zeros((), dtype=torch.int64)}

    def restore(state: State) -> dict[str, Tensor]:
        official = {
            name: value.view(1, 1, -1, 1, 1) if name.endswith("alibi_scale") else value
            for name, value in state.items()
            if name != "forwards"
        }
        return _split(official, modality)

    return Layout(
        f"pretrain_{modality.lower()}",
        KeyMap([*rules, *decoder, Rule("forwards", "teacher.forwards")]),
        official_marker,
        our_marker,
        build,
        wrapper="model",
        prefix="",
        prepare=prepare,
        restore=restore,
        nested=("_ema",),
    )


def _image_rules(root: str = "", ours: str = "") -> list[Rule]:
    place = f"{root}modality_encoders.IMAGE"
    return [
        Rule(f"{place}.extra_tokens", f"{ours}encoder.class_token"),
        Rule(f"{place}.local_encoder.proj", f"{ours}tokenizer.projection"),
        Rule(f"{place}.fixed_positional_encoder.positions", f"{ours}position_embedding.table"),
        Rule(f"{place}.context_encoder.norm", f"{ours}encoder.input_norm"),
        Rule(f"{root}encoder_blocks", f"{ours}encoder.blocks"),
    ]


def _audio_rules(root: str = "", ours: str = "") -> list[Rule]:
    """Those of parts that a teacher has, too."""
    place = f"{root}modality_encoders.AUDIO"
    positions = [
        Rule(f"{place}.relative_positional_encoder.{number + 1}", f"{ours}position_embedding.blocks.{number}")
        for number in range(MOST_LAYERS)
    ]
    return [
        *positions,
        Rule(f"{place}.alibi_scale", f"{ours}attention_bias.scale"),
        Rule(f"{place}.context_encoder.norm", f"{ours}encoder.input_norm"),
        Rule(f"{root}encoder_blocks", f"{ours}encoder.blocks"),
    ]


def _waveform_rules() -> list[Rule]:
    place = "modality_encoders.AUDIO"
    convolutions = [
        Rule(f"{place}.local_encoder.conv_layers.{number}.{official}", f"tokenizer.layers.{number}.{ours}")
        for number in range(MOST_LAYERS)
        for official, ours in (("0", "convolution"), ("2.1", "norm"))
    ]
    projection = [
        Rule(f"{place}.project_features.1", "tokenizer.norm"),
        Rule(f"{place}.project_features.2", "tokenizer.projection"),
    ]
    return [*convolutions, *projection]


def _text_rules() -> list[Rule]:
    place = "modality_encoders.TEXT.local_encoder"
    return [
        Rule(f"{place}.embed_tokens", "tokenizer.word"),
        Rule(f"{place}.embed_positions", "tokenizer.place"),
        Rule(f"{place}.layernorm_embedding", "tokenizer.norm"),
        Rule("encoder_blocks", "encoder.blocks"),
        Rule("_ema.encoder_blocks", "teacher.model.encoder.blocks"),
    ]


def _image_size(state: State) -> dict[str, Any]:
    embedding = state["tokenizer.projection.weight"]  # [D, channels, p, p]
    side = math.isqrt(state["position_embedding.table"].shape[1]) * embedding.shape[-1]
    size = {"patch_size": embedding.shape[-1], "in_channels": embedding.shape[1], "image_size": side}
    return {**encoder_size(state), **size}


def _pretraining_size(state: State, width: int) -> dict[str, int]:
    first = state["decoder.blocks.0.0.weight"]  # [C, inputs / groups, k, ...]
    return {
        "decoder_dim": first.shape[0],
        "decoder_depth": count(state, "decoder.blocks"),
        "decoder_kernel": first.shape[-1],
        "decoder_groups": width // first.shape[1],
        "target_layers": 1,
    }


def _image(state: State) -> nn.Module:
    size = _image_size(state)
    return Data2Vec2Image(**size, **_pretraining_size(state, size["embed_dim"]))


def _audio(state: State) -> nn.Module:
    numbers = range(count(state, "tokenizer.layers"))
    layers = [state[f"tokenizer.layers.{number}.convolution.weight"] for number in numbers]
    width, depth = state["tokenizer.projection.weight"].shape[0], count(state, "position_embedding.blocks")
    position = state["position_embedding.blocks.0.0.weight"]  # [C, C / groups, k]
    return Data2Vec2Audio(
        layers=[(layer.shape[0], layer.shape[2], 1) for layer in layers],  # strides are in no tensor
        embed_dim=width,
        depth=count(state, "encoder.blocks"),
        num_heads=len(state["attention_bias.scale"]),
        position_depth=depth,
        position_width=depth * position.shape[2],
        position_groups=width // position.shape[1],
        **_pretraining_size(state, width),
    )


def _text(state: State) -> nn.Module:
    words, width = state["tokenizer.word.weight"].shape
    return Data2Vec2Text(
        vocab_size=words,
        max_length=state["tokenizer.place.weight"].shape[0] - 2,
        embed_dim=width,
        depth=count(state, "encoder.blocks"),
        num_heads=max(1, width // HEAD_WIDTH),
        **_pretraining_size(state, width),
    )


def _classifier(state: State) -> nn.Module:
    return Data2Vec2Classifier(state["head.weight"].shape[0], **_image_size(state))


LAYOUTS = (
    Layout(
        "fine_tune_image",
        KeyMap([*_image_rules("model."), Rule("fc_norm", "norm"), Rule("head", "head")]),
        "fc_norm.weight",
        "norm.weight",
        _classifier,
        wrapper="model",
        prefix="",
        prepare=lambda state: _stacked(_renewed(state), "modality_encoders.IMAGE"),
        restore=lambda state: _split(state, "IMAGE"),
    ),
    _pretrain(
        "IMAGE",
        [*_image_rules(), *_image_rules("_ema.", "teacher.model.")],
        "modality_encoders.IMAGE.decoder.proj.weight",
        "encoder.class_token",
        _image,
    ),
    _pretrain(
        "AUDIO",
        [*_audio_rules(), *_audio_rules("_ema.", "teacher.model."), *_waveform_rules()],
        "modality_encoders.AUDIO.decoder.proj.weight",
        "attention_bias.scale",
        _audio,
    ),
    _pretrain(
        "TEXT",
        _text_rules(),
        "modality_encoders.TEXT.decoder.proj.0.weight",
        "tokenizer.word.weight",
        _text,
    ),
)
