"""MaskFeat3D restated from its specification, on an official-layout state dict.

Plain functions over tensors named as in the official files, sequence-first as these are used there, on top of the
restated Point-MAE; attention is torch's own. Runs in the dtype of the weights it is given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.oracles import point_mae as base

State = dict[str, Tensor]


def surface(cloud: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Axis of least spread [N, 3] and surface variation [N] of one cloud [N, 3], point by point."""
    normals, variations = [], []
    for point in cloud:
        near = cloud[(cloud - point).square().sum(-1).argsort(stable=True)[:neighbours]]
        near = near - near.mean(0)
        values, vectors = torch.linalg.eigh(near.T @ near)
        normals.append(vectors[:, 0])
        variations.append(values[0] / values.sum())
    return torch.stack(normals), torch.stack(variations)


def attend(query: Tensor, key: Tensor, value: Tensor, state: State, name: str, heads: int) -> Tensor:
    """torch's multi-head attention of [L, B, C]."""
    weights = (f"{name}.in_proj_weight", f"{name}.in_proj_bias", f"{name}.out_proj.weight", f"{name}.out_proj.bias")
    in_weight, in_bias, out_weight, out_bias = (state[weight] for weight in weights)
    rest = {"training": False, "need_weights": False}
    arguments = (query.shape[-1], heads, in_weight, in_bias, None, None, False, 0.0, out_weight, out_bias)
    return F.multi_head_attention_forward(query, key, value, *arguments, **rest)[0]


def decode(queries: Tensor, memory: Tensor, places: Tensor, state: State, heads: int) -> Tensor:
    """Features [B, Q, C] at places [B, Q, 3] of memory [B, V, C] at [B, V, 3]."""
    position = base._position(queries, state, "decoder_pos_embed").transpose(0, 1)
    memory_position = base._position(places, state, "decoder_pos_embed").transpose(0, 1)
    memory = memory.transpose(0, 1)
    x, index = torch.zeros_like(position), 0
    while f"MAE_decoder.blocks.{index}.norm1.weight" in state:
        block = f"MAE_decoder.blocks.{index}"
        y = base._layer_norm(x, state, f"{block}.norm1")
        x = x + attend(y + position, y + position, y, state, f"{block}.self_attn", heads)
        y = base._layer_norm(x, state, f"{block}.norm2")
        x = x + attend(y + position, memory + memory_position, memory, state, f"{block}.multihead_attn", heads)
        hidden = F.gelu(base._linear(base._layer_norm(x, state, f"{block}.norm3"), state, f"{block}.mlp.fc1"))
        x = x + base._linear(hidden, state, f"{block}.mlp.fc2")
        index += 1
    return base._layer_norm(x, state, "MAE_decoder.norm").transpose(0, 1)


def normal_loss(prediction: Tensor, target: Tensor, kind: str) -> Tensor:
    """Of [..., 3] and [..., 3]."""
    squared = ((prediction - target) ** 2).mean()
    length = prediction.square().sum(-1).sqrt()
    cosine = (prediction * target).sum(-1) / (length * target.square().sum(-1).sqrt())
    matching = {"cos": 1 - cosine, "abs_cos": 1 - cosine.abs(), "mse": squared, "mse_only": squared}[kind].mean()
    return matching if kind == "mse_only" else matching + 0.1 * ((length - 1) ** 2).mean()


def pretrain(
    cloud: Tensor,
    normal: Tensor,
    variation: Tensor,
    masked: Tensor,
    state: State,
    heads: int,
    groups: int,
    size: int,
    training: bool,
    kind: str = "cos",
) -> dict:
    """Pre-training pass. ``masked`` bool [B, G]. Returns queries, both predictions, both targets, both losses."""
    batch = len(cloud)
    patches, centers = base.group(cloud, groups, size)
    rows = torch.stack(
        [
            (center[:, None] - points[None]).square().sum(-1).argsort(dim=1, stable=True)[:, :size]
            for center, points in zip(centers, cloud)
        ]
    )  # [B, G, K]
    slots = {
        name: torch.stack([values[b][rows[b]] for b in range(batch)])[masked].reshape(batch, -1, values.shape[-1])
        for name, values in {"points": cloud, "normal": normal, "variation": variation[..., None]}.items()
    }
    tokens = base.embed(patches, state, "MAE_encoder.encoder.", training)
    visible = tokens[~masked].reshape(batch, -1, tokens.shape[-1])
    places = centers[~masked].reshape(batch, -1, 3)
    position = base._position(places, state, "MAE_encoder.pos_embed")
    x = base.blocks(visible, position, state, "MAE_encoder.blocks.blocks", heads)[-1]
    memory = base._layer_norm(x, state, "MAE_encoder.norm")
    x = decode(slots["points"], memory, places, state, heads)
    predicted_normal = base._linear(x, state, "mlp_normal_output.0")
    predicted_variation = base._linear(x, state, "mlp_sv_output.0")
    return {
        "queries": slots["points"],
        "prediction": torch.cat((predicted_normal, predicted_variation), dim=-1),
        "target": torch.cat((slots["normal"], slots["variation"]), dim=-1),
        "normal": normal_loss(predicted_normal, slots["normal"], kind),
        "variation": (predicted_variation - slots["variation"]).abs().mean(),
    }


def official_state(width: int, depth: int, decoder_depth: int, seed: int = 0) -> State:
    """Random pre-training state dict in the official layout, float32."""
    point_mae = base.official_state(width, depth, 0, 1, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    state = {n: v for n, v in point_mae.items() if n.startswith(("MAE_encoder.", "decoder_pos_embed", "MAE_decoder."))}
    for index in range(decoder_depth):
        block = f"MAE_decoder.blocks.{index}"
        for name in ("self_attn", "multihead_attn"):
            projection = torch.randn(3 * width, width, generator=generator)
            state[f"{block}.{name}.in_proj_weight"] = projection / width**0.5
            state[f"{block}.{name}.in_proj_bias"] = 0.1 * torch.randn(3 * width, generator=generator)
            base._dense(state, f"{block}.{name}.out_proj", width, width, generator)
        for name in ("norm1", "norm2", "norm3"):
            state[f"{block}.{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
            state[f"{block}.{name}.bias"] = 0.1 * torch.randn(width, generator=generator)
        base._dense(state, f"{block}.mlp.fc1", width, 4 * width, generator)
        base._dense(state, f"{block}.mlp.fc2", 4 * width, width, generator)
    base._dense(state, "mlp_sv_output.0", width, 1, generator)
    base._dense(state, "mlp_normal_output.0", width, 3, generator)
    return state
