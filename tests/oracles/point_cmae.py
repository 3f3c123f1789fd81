"""Point-CMAE restated from its specification, on an official-layout state dict.

Plain functions over tensors named as in the official files, on top of the restated Point-MAE; runs in the dtype of the
weights it is given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracles import point_mae as base

State = dict[str, Tensor]
TWINS = {
    "mask_token": ("mask_token1", "mask_token2"),
    "decoder_pos_embed": ("decoder_pos_embed1", "decoder_pos_embed2"),
    "MAE_decoder": ("MAE_decoder", "MAE_decoder_"),
    "increase_dim": ("increase_dim", "increase_dim_"),
}
"""Point-MAE's names of what there is twice, and the names of the two."""


def branch_state(state: State, branch: int) -> State:
    """Point-MAE's state dict of one of the two branches, without the class token."""
    twins = {name: pair[branch] for name, pair in TWINS.items()}
    names = [name for name in state if name.startswith("MAE_encoder.") and "cls" not in name]
    result = {name: state[name] for name in names}
    for ours, theirs in twins.items():
        result |= {
            ours + name.removeprefix(theirs): value
            for name, value in state.items()
            if name == theirs or name.startswith(f"{theirs}.")
        }
    return result


def contrast(first: Tensor, second: Tensor, hidden: Tensor, pairs: str) -> Tensor:
    """Term of two [B, G, C] in the order of the groups; ``hidden`` bool [B, G], masked in both."""
    first = first / first.norm(dim=-1, keepdim=True)
    second = second / second.norm(dim=-1, keepdim=True)
    similarity = torch.einsum("bic,bjc->bij", first, second)
    weight = hidden[:, :, None].to(first.dtype).expand_as(similarity)
    if pairs == "same":
        weight = weight * torch.eye(first.shape[1], dtype=first.dtype)
    return (weight * (1 - similarity + (1e-8 if pairs == "all" else 0))).sum() / weight.sum()


def pretrain(
    cloud: Tensor,
    masks: tuple[Tensor, Tensor],
    state: State,
    heads: int,
    groups: int,
    size: int,
    training: bool,
    pairs: str = "all",
) -> dict:
    """Pre-training pass; each of ``masks`` bool [B, G].

    Returns for both branches the prediction [B, M, K, 3] and the features [B, G, C], and the two unweighted losses.
    """
    patches, centers = base.group(cloud, groups, size)
    batch = len(cloud)
    tokens = base.embed(patches, state, "MAE_encoder.encoder.", training)
    predictions, features, reconstruction = [], [], 0.0
    for branch, masked in enumerate(masks):
        own = branch_state(state, branch)
        visible_centers = centers[~masked].reshape(batch, -1, 3)
        masked_centers = centers[masked].reshape(batch, -1, 3)
        seen, hidden = visible_centers.shape[1], masked_centers.shape[1]
        token, place = (state[f"MAE_encoder.cls_{kind}{branch + 1}"].repeat(batch, 1, 1) for kind in ("token", "pos"))
        x = torch.cat((token, tokens[~masked].reshape(batch, seen, -1)), dim=1)
        position = torch.cat((place, base._position(visible_centers, own, "MAE_encoder.pos_embed")), dim=1)
        x = base.blocks(x, position, own, "MAE_encoder.blocks.blocks", heads)[-1]
        x = base._layer_norm(x, own, "MAE_encoder.norm")[:, 1:]

        x = torch.cat((x, own["mask_token"].repeat(batch, hidden, 1)), dim=1)
        position = base._position(torch.cat((visible_centers, masked_centers), dim=1), own, "decoder_pos_embed")
        raw = base.blocks(x, position, own, "MAE_decoder.blocks", heads)[-1]
        x = base._layer_norm(raw[:, seen:], own, "MAE_decoder.norm")
        rows = base._conv(x.transpose(1, 2), own, "increase_dim.0").transpose(1, 2)
        prediction = rows.reshape(batch, hidden, size, 3)
        target = patches[masked].reshape(batch * hidden, size, 3)
        reconstruction = reconstruction + base.chamfer_l2(prediction.reshape(-1, size, 3), target)
        in_order = torch.zeros_like(raw)
        in_order[~masked] = raw[:, :seen].reshape(-1, raw.shape[-1])
        in_order[masked] = raw[:, seen:].reshape(-1, raw.shape[-1])
        predictions.append(prediction)
        features.append(in_order)
    both = masks[0] & masks[1]
    return {
        "predictions": predictions,
        "features": features,
        "reconstruction": reconstruction,
        "contrast": contrast(features[0], features[1], both, pairs),
    }


def official_state(width: int, depth: int, decoder_depth: int, size: int, seed: int = 0) -> State:
    """Random pre-training state dict in the official layout, float32."""
    first, second = (base.official_state(width, depth, decoder_depth, size, seed + branch) for branch in (0, 1))
    state = {name: value for name, value in first.items() if name.startswith("MAE_encoder.")}
    for ours, names in TWINS.items():
        for source, theirs in zip((first, second), names):
            state |= {
                theirs + name.removeprefix(ours): value
                for name, value in source.items()
                if name == ours or name.startswith(f"{ours}.")
            }
    generator = torch.Generator().manual_seed(seed + 2)
    for name in ("cls_token1", "cls_pos1", "cls_token2", "cls_pos2"):
        state[f"MAE_encoder.{name}"] = torch.randn(1, 1, width, generator=generator)
    base._dense(state, "MAE_encoder.proj_cls.0", width, 256, generator)
    base._statistics(state, "MAE_encoder.proj_cls.1", 256, generator)
    base._dense(state, "MAE_encoder.proj_cls.3", 256, 256, generator)
    return state
