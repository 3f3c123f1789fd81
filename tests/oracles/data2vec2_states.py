"""Random state dicts with the names and shapes of the official data2vec 2.0 checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracles.vision_states import Filler

State = dict[str, Tensor]


def convolutions(fill: Filler, name: str, widths: list[int], kernel: tuple[int, ...], groups: int) -> None:
    for index in range(len(widths) - 1):
        share = widths[index] // groups
        fan_in = share * torch.Size(kernel).numel()
        fill.add(f"{name}.{index}.0.weight", widths[index + 1], share, *kernel, scale=fan_in**-0.5)
        fill.add(f"{name}.{index}.0.bias", widths[index + 1], scale=0.1)


def with_teacher(state: State, left_out: tuple[str, ...], seed: int) -> State:
    """Adds ``_ema.`` tensors near those of the student, without the parts that a teacher does not have."""
    generator = torch.Generator().manual_seed(seed)
    near = {
        f"_ema.{name}": value + 0.02 * torch.randn(value.shape, generator=generator)
        for name, value in state.items()
        if not any(part in name for part in left_out)
    }
    return {**state, **near}


def image_state(
    width: int, prenet: int, depth: int, patch: int, side: int, decoder: dict[str, int], seed: int = 0
) -> State:
    """``decoder``: dim, layers, kernel, groups."""
    fill, place = Filler(seed), "modality_encoders.IMAGE"
    fill.add(f"{place}.extra_tokens", 1, 1, width)
    fill.patches(f"{place}.local_encoder.proj", width, 3, patch, patch)
    fill.add(f"{place}.fixed_positional_encoder.positions", 1, side**2, width)
    fill.blocks(f"{place}.context_encoder.blocks", width, prenet, "fused")
    fill.norm(f"{place}.context_encoder.norm", width)
    widths = [width] + [decoder["dim"]] * decoder["layers"]
    convolutions(fill, f"{place}.decoder.blocks", widths, (decoder["kernel"],) * 2, decoder["groups"])
    fill.linear(f"{place}.decoder.proj", decoder["dim"], width)
    fill.blocks("blocks", width, depth, "fused")
    state = with_teacher(fill.state, ("decoder",), seed + 1)
    positions = f"{place}.fixed_positional_encoder.positions"
    return {**state, f"_ema.{positions}": state[positions].clone()}


def image_classifier_state(pretrained: State, classes: int, seed: int = 5) -> State:
    width, fill = pretrained["modality_encoders.IMAGE.extra_tokens"].shape[-1], Filler(seed)
    fill.norm("fc_norm", width)
    fill.linear("head", width, classes)
    kept = {n: v for n, v in pretrained.items() if not n.startswith("_ema") and ".decoder." not in n}
    return {**{f"model.{name}": value for name, value in kept.items()}, **fill.state}


def audio_state(
    width: int,
    prenet: int,
    depth: int,
    heads: int,
    layers: list[tuple[int, int]],
    positions: tuple[int, int, int],
    decoder: dict[str, int],
    seed: int = 0,
) -> State:
    """``layers``: (channels, kernel) of the extractor; ``positions``: number, kernel and groups of convolutions."""
    fill, place = Filler(seed), "modality_encoders.AUDIO"
    fill.add(f"{place}.alibi_scale", 1, 1, heads, 1, 1, scale=0.5, shift=0.5)
    before = 1
    for index, (channels, kernel) in enumerate(layers):
        name = f"{place}.local_encoder.conv_layers.{index}"
        fill.add(f"{name}.0.weight", channels, before, kernel, scale=(before * kernel) ** -0.5)
        fill.norm(f"{name}.2.1", channels)
        before = channels
    fill.norm(f"{place}.project_features.1", before)
    fill.linear(f"{place}.project_features.2", before, width)
    number, kernel, groups = positions
    convolutions(fill, "positions", [width] * (number + 1), (kernel,), groups)
    for name in [name for name in fill.state if name.startswith("positions.")]:
        index, rest = name.removeprefix("positions.").split(".", 1)
        fill.state[f"{place}.relative_positional_encoder.{int(index) + 1}.{rest}"] = fill.state.pop(name)
    fill.blocks(f"{place}.context_encoder.blocks", width, prenet, "fused")
    fill.norm(f"{place}.context_encoder.norm", width)
    widths = [width] + [decoder["dim"]] * decoder["layers"]
    convolutions(fill, f"{place}.decoder.blocks", widths, (decoder["kernel"],), decoder["groups"])
    fill.linear(f"{place}.decoder.proj", decoder["dim"], width)
    fill.blocks("blocks", width, depth, "fused")
    return with_teacher(fill.state, ("decoder", "local_encoder", "project_features"), seed + 1)


def text_state(width: int, depth: int, words: int, length: int, decoder: dict[str, int], seed: int = 0) -> State:
    fill, place = Filler(seed), "modality_encoders.TEXT"
    fill.add(f"{place}.local_encoder.embed_tokens.weight", words, width)
    fill.add(f"{place}.local_encoder.embed_positions.weight", length + 2, width)
    fill.norm(f"{place}.local_encoder.layernorm_embedding", width)
    widths = [width] + [decoder["dim"]] * decoder["layers"]
    convolutions(fill, f"{place}.decoder.blocks", widths, (decoder["kernel"],), 1)
    fill.linear(f"{place}.decoder.proj.0", decoder["dim"], 2 * decoder["dim"])
    fill.linear(f"{place}.decoder.proj.2", 2 * decoder["dim"], width)
    fill.blocks("blocks", width, depth, "fused")
    every = with_teacher(fill.state, ("modality_encoders",), seed + 1)
    return {name.replace("_ema.blocks.", "_ema."): value for name, value in every.items()}
