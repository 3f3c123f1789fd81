"""Plain restatements of the official forwards of MAE, MAE-ST and VideoMAE, in their parameter names.

Written from the papers and from the shapes of the official checkpoints: shuffled tokens, mask tokens put back in place,
three projections for query, key and value, boolean gathers. Nothing of mae3d is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def layer_norm(x: Tensor, state: State, name: str, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def qkv(x: Tensor, state: State, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """The three published forms: one layer with a bias, one with q and v biases, three layers."""
    if f"{name}.q.weight" in state:
        return tuple(linear(x, state, f"{name}.{part}") for part in "qkv")
    if f"{name}.q_bias" in state:
        zero = torch.zeros_like(state[f"{name}.v_bias"])
        bias = torch.cat((state[f"{name}.q_bias"], zero, state[f"{name}.v_bias"]))
        return F.linear(x, state[f"{name}.qkv.weight"], bias).chunk(3, -1)
    return linear(x, state, f"{name}.qkv").chunk(3, -1)


def block(x: Tensor, state: State, name: str, heads: int) -> Tensor:
    batch, count, width = x.shape
    query, key, value = (
        part.reshape(batch, count, heads, width // heads).transpose(1, 2)
        for part in qkv(layer_norm(x, state, f"{name}.norm1"), state, f"{name}.attn")
    )
    weights = (query @ key.transpose(-2, -1) * (width // heads) ** -0.5).softmax(dim=-1)
    mixed = (weights @ value).transpose(1, 2).reshape(batch, count, width)
    x = x + linear(mixed, state, f"{name}.attn.proj")
    hidden = F.gelu(linear(layer_norm(x, state, f"{name}.norm2"), state, f"{name}.mlp.fc1"))
    return x + linear(hidden, state, f"{name}.mlp.fc2")


def blocks(x: Tensor, state: State, prefix: str, heads: int) -> Tensor:
    index = 0
    while f"{prefix}.{index}.norm1.weight" in state:
        x = block(x, state, f"{prefix}.{index}", heads)
        index += 1
    return x


def convolve(x: Tensor, state: State, name: str) -> Tensor:
    """Patch embedding by the published convolution -> [B, N, D]."""
    weight = state[f"{name}.weight"]
    convolution = F.conv2d if weight.dim() == 4 else F.conv3d
    return convolution(x, weight, state[f"{name}.bias"], stride=weight.shape[2:]).flatten(2).transpose(1, 2)


def shuffle(noise: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """MAE's random masking from its noise: kept indices in shuffled order, restoring order, mask (1 = removed)."""
    order = torch.argsort(noise, dim=1)
    restore = torch.argsort(order, dim=1)
    mask = torch.ones_like(noise)
    mask[:, :keep] = 0
    return order[:, :keep], restore, torch.gather(mask, 1, restore)


def take(x: Tensor, index: Tensor) -> Tensor:
    return torch.gather(x, 1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def unshuffle(x: Tensor, token: Tensor, restore: Tensor) -> Tensor:
    tokens = token.expand(len(x), restore.shape[1] - x.shape[1], -1)
    return take(torch.cat([x, tokens], dim=1), restore)


def mae_target(images: Tensor, patch: int, norm_pix: bool) -> Tensor:
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    x = images.reshape(batch, channels, rows, patch, columns, patch)
    target = torch.einsum("nchpwq->nhwpqc", x).reshape(batch, rows * columns, patch**2 * channels)
    if norm_pix:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1.0e-6) ** 0.5
    return target


def mae(images: Tensor, noise: Tensor, keep: int, state: State, heads: int, decoder_heads: int, norm_pix: bool = True):
    """MAE pre-training -> loss, prediction of all patches [B, L, p * p * 3], mask [B, L], latents with class token."""
    pos = state["pos_embed"]
    x = convolve(images, state, "patch_embed.proj") + pos[:, 1:]
    kept, restore, mask = shuffle(noise, keep)
    x = take(x, kept)
    x = torch.cat(((state["cls_token"] + pos[:, :1]).expand(len(x), -1, -1), x), dim=1)
    latents = layer_norm(blocks(x, state, "blocks", heads), state, "norm")
    x = linear(latents, state, "decoder_embed")
    x = torch.cat([x[:, :1], unshuffle(x[:, 1:], state["mask_token"], restore)], dim=1) + state["decoder_pos_embed"]
    x = layer_norm(blocks(x, state, "decoder_blocks", decoder_heads), state, "decoder_norm")
    prediction = linear(x, state, "decoder_pred")[:, 1:]
    target = mae_target(images, state["patch_embed.proj.weight"].shape[-1], norm_pix)
    loss = (((prediction - target) ** 2).mean(-1) * mask).sum() / mask.sum()
    return loss, prediction, mask, latents


def mae_classifier(images: Tensor, state: State, heads: int) -> Tensor:
    """Fine-tuned ViT: mean over patches before ``fc_norm``, or class token after ``norm``, also with a probe's head."""
    x = convolve(images, state, "patch_embed.proj")
    x = torch.cat((state["cls_token"].expand(len(x), -1, -1), x), dim=1) + state["pos_embed"]
    x = blocks(x, state, "blocks", heads)
    if "fc_norm.weight" in state:
        return linear(layer_norm(x[:, 1:].mean(dim=1), state, "fc_norm"), state, "head")
    x = layer_norm(x, state, "norm")[:, 0]
    if "head.1.weight" in state:
        x = (x - state["head.0.running_mean"]) / (state["head.0.running_var"] + 1e-6).sqrt()
        return linear(x, state, "head.1")
    return linear(x, state, "head")


def mae_st_positions(state: State, prefix: str) -> Tensor:
    space, time = state[f"{prefix}_spatial"], state[f"{prefix}_temporal"]
    table = space.repeat(1, time.shape[1], 1) + torch.repeat_interleave(time, space.shape[1], dim=1)
    return torch.cat([state[f"{prefix}_class"], table], dim=1)


def mae_st_target(clip: Tensor, patch: int, frames: int) -> Tensor:
    index = torch.linspace(0, clip.shape[2] - 1, frames).long()
    x = clip.index_select(2, index)
    batch, channels, count, height, width = x.shape
    rows, columns = height // patch, width // patch
    x = x.reshape(batch, channels, count, 1, rows, patch, columns, patch)
    target = torch.einsum("nctuhpwq->nthwupqc", x).reshape(batch, count * rows * columns, patch**2 * channels)
    return (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1.0e-6) ** 0.5


def mae_st(clip: Tensor, noise: Tensor, keep: int, state: State, heads: int, decoder_heads: int, frames: int):
    """MAE-ST pre-training -> loss, prediction of all tokens, mask, latents without class token."""
    x = convolve(clip, state, "patch_embed.proj")
    kept, restore, mask = shuffle(noise, keep)
    x = torch.cat((state["cls_token"].expand(len(x), -1, -1), take(x, kept)), dim=1)
    table = mae_st_positions(state, "pos_embed").expand(len(x), -1, -1)
    x = x + torch.cat((table[:, :1], take(table[:, 1:], kept)), dim=1)
    latents = layer_norm(blocks(x, state, "blocks", heads), state, "norm")[:, 1:]
    x = unshuffle(linear(latents, state, "decoder_embed"), state["mask_token"], restore)
    x = torch.cat((state["decoder_cls_token"].expand(len(x), -1, -1), x), dim=1)
    x = x + mae_st_positions(state, "decoder_pos_embed")
    x = layer_norm(blocks(x, state, "decoder_blocks", decoder_heads), state, "decoder_norm")
    prediction = linear(x, state, "decoder_pred")[:, 1:]
    target = mae_st_target(clip, state["patch_embed.proj.weight"].shape[-1], frames)
    loss = (((prediction - target) ** 2).mean(-1) * mask).sum() / mask.sum()
    return loss, prediction, mask, latents


def mae_st_classifier(clip: Tensor, state: State, heads: int) -> Tensor:
    x = convolve(clip, state, "patch_embed.proj")
    x = torch.cat((state["cls_token"].expand(len(x), -1, -1), x), dim=1) + mae_st_positions(state, "pos_embed")
    x = blocks(x, state, "blocks", heads)[:, 1:].mean(dim=1)
    return linear(layer_norm(x, state, "norm"), state, "head.projection")


def sinusoid(count: int, width: int) -> Tensor:
    table = torch.zeros(count, width, dtype=torch.float64)
    for position in range(count):
        for channel in range(width):
            angle = position / 10000 ** (2 * (channel // 2) / width)
            table[position, channel] = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
    return table.float().unsqueeze(0)


def videomae_target(clip: Tensor, tubelet: tuple[int, int, int], hidden: Tensor) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1, 1)
    batch, channels, frames, height, width = clip.shape
    a, b, c = tubelet
    x = (clip * std + mean).reshape(batch, channels, frames // a, a, height // b, b, width // c, c)
    x = x.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, -1, a * b * c, channels)
    x = (x - x.mean(dim=-2, keepdim=True)) / (x.var(dim=-2, unbiased=True, keepdim=True).sqrt() + 1e-6)
    return x.reshape(batch, x.shape[1], -1)[hidden].reshape(batch, -1, a * b * c * channels)


def videomae(clip: Tensor, hidden: Tensor, state: State, heads: int, decoder_heads: int):
    """VideoMAE pre-training, ``hidden`` bool [B, N] -> loss, prediction of the hidden tokens, latents."""
    x = convolve(clip, state, "encoder.patch_embed.proj")
    batch, count, width = x.shape
    x = (x + sinusoid(count, width))[~hidden].reshape(batch, -1, width)
    latents = layer_norm(blocks(x, state, "encoder.blocks", heads), state, "encoder.norm")
    x = linear(latents, state, "encoder_to_decoder")
    narrow = x.shape[-1]
    table = sinusoid(count, narrow).expand(batch, -1, -1)
    seen, unseen = (table[chosen].reshape(batch, -1, narrow) for chosen in (~hidden, hidden))
    x = blocks(torch.cat([x + seen, state["mask_token"] + unseen], dim=1), state, "decoder.blocks", decoder_heads)
    x = layer_norm(x[:, -unseen.shape[1] :], state, "decoder.norm")
    prediction = linear(x, state, "decoder.head")
    target = videomae_target(clip, tuple(state["encoder.patch_embed.proj.weight"].shape[2:]), hidden)
    return F.mse_loss(prediction, target), prediction, latents


def videomae_classifier(clip: Tensor, state: State, heads: int) -> Tensor:
    x = convolve(clip, state, "patch_embed.proj")
    x = blocks(x + sinusoid(x.shape[1], x.shape[2]), state, "blocks", heads).mean(dim=1)
    return linear(layer_norm(x, state, "fc_norm"), state, "head")
