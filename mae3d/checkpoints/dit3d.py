"""Official DiT-3D files (DiT-3D/DiT-3D). No file of FastDiT-3D is public."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.models.methods import DiT3D
from mae3d.models.methods.dit3d import SIZES

HEADS = {size["embed_dim"]: size["num_heads"] for size in SIZES.values()}
"""Width -> attention heads of the published sizes; files do not record them and conversion does not depend on them."""

MAX_BLOCKS = 64


def _block_rules(index: int) -> list[Rule]:
    official, ours = f"blocks.{index}", f"encoder.blocks.{index}"
    return [
        Rule(f"{official}.attn", f"{ours}.attn"),
        Rule(f"{official}.mlp", f"{ours}.mlp"),
        Rule(f"{official}.adaLN_modulation.1", f"{ours}.modulation"),
    ]


KEYS = KeyMap(
    [
        Rule("pos_embed", "tokenizer.position"),
        Rule("x_embedder.proj", "tokenizer.projection"),
        Rule("t_embedder.mlp", "condition.time"),
        Rule("y_embedder.embedding_table", "condition.label"),
        *[rule for index in range(MAX_BLOCKS) for rule in _block_rules(index)],
        Rule("final_layer.linear", "head.linear"),
        Rule("final_layer.adaLN_modulation.1", "head.modulation"),
    ]
)


def _bare(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without ``model.`` or ``model.module.``, which precede them depending on how the network was wrapped."""
    return {re.sub(r"^model\.(module\.)?", "", name): value for name, value in official.items()}


def _build(state: Mapping[str, Tensor]) -> nn.Module:
    width, _, patch = state["tokenizer.projection.weight"].shape[:3]
    grid = round(state["tokenizer.position"].shape[1] ** (1 / 3))
    blocks = {name.split(".")[2] for name in state if name.startswith("encoder.blocks.")}
    return DiT3D(
        resolution=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=len(blocks),
        num_heads=HEADS.get(width, 1),
        num_classes=len(state["condition.label.weight"]) - 1,
    )


MARKER = "x_embedder.proj.weight"
LAYOUTS = tuple(
    Layout(
        "generation",
        KEYS,
        prefix + MARKER,
        "tokenizer.projection.weight",
        _build,
        wrapper="model_state",
        prefix="model.module.",
        prepare=_bare,
    )
    for prefix in ("model.module.", "model.", "")
)
"""The same file in three wrappings, as DiT-3D writes it from several processes, from one, and bare."""
