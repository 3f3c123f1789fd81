"""Plain restatements of Audio-MAE's official forwards and masks, and random files of their layout.

Written from the paper, the specification and the shapes of the official checkpoints. Nothing of mae3d is used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.oracles.vision import blocks, convolve, layer_norm, linear, mae_target, shuffle, take, unshuffle
from tests.oracles.vision_states import Filler, State, encoder_of


def window_bias(state: State, name: str, window: tuple[int, int]) -> Tensor:
    """[H, L, L], pair by pair."""
    cells = [(row, column) for row in range(window[0]) for column in range(window[1])]
    rows = []
    for first in cells:
        for second in cells:
            offset = torch.tensor(
                [float(a - b) for a, b in zip(first, second)], dtype=state[f"{name}.fc1.weight"].dtype
            )
            spaced = torch.sign(offset) * torch.log(1 + offset.abs())
            rows.append(linear(F.relu(linear(spaced, state, f"{name}.fc1")), state, f"{name}.fc2"))
    return torch.stack(rows).T.reshape(-1, len(cells), len(cells))


def window_attention(x: Tensor, state: State, name: str, window: tuple[int, int], shift: int) -> Tensor:
    """Tokens [B, T, F, C]: every window and every pair in it by a loop; ``shift`` is along time, as a ring."""
    batch, steps, bands, width = x.shape
    tau = state[f"{name}.tau"].clamp(min=0.01)
    heads = len(tau)
    query, key, value = (
        part.reshape(batch, steps, bands, heads, width // heads)
        for part in linear(x, state, f"{name}.qkv").chunk(3, dim=-1)
    )
    bias = window_bias(state, f"{name}.meta_mlp", window)
    out = torch.zeros_like(value)
    for top in range(0, steps, window[0]):
        for left in range(0, bands, window[1]):
            cells = [
                ((top + i + shift) % steps, left + j, top + i + shift >= steps)
                for i in range(window[0])
                for j in range(window[1])
            ]
            for a, (t, f, wrapped) in enumerate(cells):
                logits = []
                for b, (u, g, other) in enumerate(cells):
                    q, k = query[:, t, f], key[:, u, g]  # [B, H, D]
                    cosine = (q * k).sum(-1) / (q.norm(dim=-1) * k.norm(dim=-1)).clamp(min=1e-6)
                    logits.append(cosine / tau + bias[:, a, b] - 100.0 * (wrapped != other))
                weights = torch.stack(logits, dim=-1).softmax(dim=-1)  # [B, H, L]
                values = torch.stack([value[:, u, g] for u, g, _ in cells], dim=2)  # [B, H, L, D]
                out[:, t, f] = (weights.unsqueeze(-1) * values).sum(dim=2)
    return linear(out.flatten(3), state, f"{name}.proj")


def window_blocks(x: Tensor, state: State, prefix: str, window: tuple[int, int], shift: int) -> Tensor:
    index = 0
    while f"{prefix}.{index}.norm1.weight" in state:
        name = f"{prefix}.{index}"
        mixed = window_attention(x, state, f"{name}.attn", window, shift if index % 2 else 0)
        x = x + layer_norm(mixed, state, f"{name}.norm1")
        hidden = linear(F.gelu(linear(x, state, f"{name}.mlp.fc1")), state, f"{name}.mlp.fc2")
        x = x + layer_norm(hidden, state, f"{name}.norm2")
        index += 1
    return x


def audio_mae(
    spectrogram: Tensor,
    order: Tensor,
    keep: int,
    state: State,
    heads: int,
    grid: tuple[int, int],
    norm_pix: bool = True,
    window: tuple[int, int] = (4, 4),
    shift: int = 2,
):
    """Pre-training with the window decoder -> loss, prediction of all patches, mask.

    ``order`` is the noise whose ``keep`` lowest numbers stay.
    """
    pos = state["pos_embed"]
    x = convolve(spectrogram, state, "patch_embed.proj") + pos[:, 1:]
    kept, restore, mask = shuffle(order, keep)
    x = torch.cat(((state["cls_token"] + pos[:, :1]).expand(len(x), -1, -1), take(x, kept)), dim=1)
    latents = layer_norm(blocks(x, state, "blocks", heads), state, "norm")
    x = linear(latents, state, "decoder_embed")
    x = torch.cat([x[:, :1], unshuffle(x[:, 1:], state["mask_token"], restore)], dim=1) + state["decoder_pos_embed"]
    x = window_blocks(x[:, 1:].unflatten(1, grid), state, "decoder_blocks", window, shift).flatten(1, 2)
    prediction = linear(layer_norm(x, state, "decoder_norm"), state, "decoder_pred")
    target = mae_target(spectrogram, state["patch_embed.proj.weight"].shape[-1], norm_pix)
    loss = (((prediction - target) ** 2).mean(-1) * mask).sum() / mask.sum()
    return loss, prediction, mask


def structured_mask(noise_time: Tensor, noise_frequency: Tensor, time: float, frequency: float):
    """Pre-training masks of whole steps and bands -> kept indices in raster order, mask (1 = removed), restoring order.

    As officially: sort the token numbers with 999 added to those that are hidden.
    """
    sizes = noise_time.shape[1], noise_frequency.shape[1]
    removed = []
    for noise, size, ratio in ((noise_time, sizes[0], time), (noise_frequency, sizes[1], frequency)):
        keep = int(size * (1 - ratio))
        row = torch.ones_like(noise)
        row[:, :keep] = 0
        removed.append((torch.gather(row, 1, noise.argsort(1).argsort(1)), keep))
    (by_time, keep_time), (by_frequency, keep_frequency) = removed
    mask = 1 - (1 - by_time)[:, :, None] * (1 - by_frequency)[:, None, :]
    number = torch.arange(sizes[0] * sizes[1], dtype=torch.float64).reshape(sizes) + 999 * mask
    order = number.flatten(1).argsort(1)
    return order[:, : keep_time * keep_frequency], mask.flatten(1), order.argsort(1)


def audio_mae_classifier(
    spectrogram: Tensor, state: State, heads: int, kept: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Fine-tuned network; ``kept`` = (steps [t], bands [f]) of structured masking, in any order."""
    x = convolve(spectrogram, state, "patch_embed.proj") + state["pos_embed"][:, 1:]
    if kept is not None:
        bands = spectrogram.shape[3] // state["patch_embed.proj.weight"].shape[-1]
        x = x.unflatten(1, (-1, bands))[:, kept[0]][:, :, kept[1]].flatten(1, 2)
    first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(x), -1, -1)
    x = blocks(torch.cat((first, x), dim=1), state, "blocks", heads)
    return linear(layer_norm(x[:, 1:].mean(dim=1), state, "fc_norm"), state, "head")


def published_position(index: int, dim: int, steps: int) -> Tensor:
    """Position of token ``index`` in closed form: of (index mod steps), then of (index // steps)."""
    rates = [1 / 10000 ** (4 * i / dim) for i in range(dim // 4)]
    parts = []
    for place in (index % steps, index // steps):
        angle = torch.tensor([place * rate for rate in rates], dtype=torch.float64)
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts)


def audio_mae_state(
    width: int, depth: int, narrow: int, decoder_depth: int, patch: int, count: int, heads: int = 0, seed: int = 0
) -> State:
    """Pre-training file with random tables; ``heads`` of the window decoder, 0 for the global one."""
    fill = Filler(seed)
    fill.add("cls_token", 1, 1, width)
    fill.add("pos_embed", 1, count + 1, width)
    fill.patches("patch_embed.proj", width, 1, patch, patch)
    fill.blocks("blocks", width, depth, "fused")
    fill.norm("norm", width)
    fill.linear("decoder_embed", width, narrow)
    fill.add("mask_token", 1, 1, narrow)
    fill.add("decoder_pos_embed", 1, count + 1, narrow)
    fill.blocks("decoder_blocks", narrow, decoder_depth, "fused")
    for index in range(decoder_depth if heads else 0):
        name = f"decoder_blocks.{index}.attn"
        fill.add(f"{name}.tau", heads, scale=0.1, shift=0.3)
        fill.linear(f"{name}.meta_mlp.fc1", 2, 384)
        fill.linear(f"{name}.meta_mlp.fc2", 384, heads)
    fill.norm("decoder_norm", narrow)
    fill.linear("decoder_pred", narrow, patch**2)
    for name in ("pos_embed", "decoder_pos_embed"):
        fill.state[name][:, 0] = 0
    return fill.state


def audio_mae_classifier_state(pretrained: State, classes: int, seed: int = 1) -> State:
    """Fine-tuned file."""
    fill = Filler(seed)
    state = encoder_of(pretrained)
    del state["norm.weight"], state["norm.bias"]
    width = state["cls_token"].shape[-1]
    fill.norm("fc_norm", width)
    fill.linear("head", width, classes)
    return {**state, **fill.state}
