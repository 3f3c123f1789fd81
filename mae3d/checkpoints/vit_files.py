"""What the official files of plain ViTs have in common: rules, sizes, and tensors that are split or joined."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mae3d.checkpoints.key_map import Rule

State = Mapping[str, Tensor]

HEAD_WIDTH = 64
"""Channels per attention head of the published sizes; files do not record it and conversion does not depend on it."""


def encoder_rules(prefix: str = "") -> list[Rule]:
    """Patch embedding, blocks and final norm under timm's names."""
    return [
        Rule(f"{prefix}patch_embed.proj", "tokenizer.projection"),
        Rule(f"{prefix}blocks", "encoder.blocks"),
        Rule(f"{prefix}norm", "encoder.norm"),
    ]


def count(state: State, prefix: str) -> int:
    """Number of blocks whose names begin ``prefix.<number>.``."""
    numbers = [int(found[1]) for name in state if (found := re.match(rf"{re.escape(prefix)}\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def encoder_size(state: State) -> dict[str, Any]:
    """Width, depth and heads of the encoder, read off the shapes of our names."""
    width = state["tokenizer.projection.weight"].shape[0]
    return {"embed_dim": width, "depth": count(state, "encoder.blocks"), "num_heads": max(1, width // HEAD_WIDTH)}


def decoder_size(state: State) -> dict[str, Any]:
    """Width, depth and heads of the decoder."""
    width = state["decoder.mask_token"].shape[-1]
    depth = count(state, "decoder.transformer.blocks")
    heads = next(heads for heads in (16, 8, 6, 4, 3, 2, 1) if width % heads == 0)
    return {"decoder_dim": width, "decoder_depth": depth, "decoder_num_heads": heads}


def split_first_row(state: State, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Position tables [1, 1 + N, C] to ``name.first`` [1, 1, C], that of the class token, and ``name.rest``."""
    result = dict(state)
    for name in names:
        if name in result:
            table = result.pop(name)
            result[f"{name}.first"], result[f"{name}.rest"] = table[:, :1], table[:, 1:]
    return result


def join_first_row(state: State, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Inverse of :func:`split_first_row`."""
    result = dict(state)
    for name in names:
        if f"{name}.first" in result:
            result[name] = torch.cat((result.pop(f"{name}.first"), result.pop(f"{name}.rest")), dim=1)
    return result


def join_projections(state: State) -> dict[str, Tensor]:
    """Separate layers ``attn.q``, ``attn.k``, ``attn.v`` to one ``attn.qkv`` with their rows in this order."""
    result = dict(state)
    for name in state:
        found = re.fullmatch(r"(.*\.attn)\.q\.(weight|bias)", name)
        parts = [f"{found[1]}.{part}.{found[2]}" for part in "qkv"] if found else []
        if found and all(part in state for part in parts):
            result[f"{found[1]}.qkv.{found[2]}"] = torch.cat([result.pop(part) for part in parts])
    return result


def split_projections(state: State) -> dict[str, Tensor]:
    """Inverse of :func:`join_projections`."""
    result = dict(state)
    for name in state:
        found = re.fullmatch(r"(.*\.attn)\.qkv\.(weight|bias)", name)
        if found:
            for part, rows in zip("qkv", result.pop(name).chunk(3)):
                result[f"{found[1]}.{part}.{found[2]}"] = rows
    return result
