"""Plain restatement of the official forward of data2vec 2.0, in its parameter names, for images, audio and text.

Written from the papers and from the shapes of the official checkpoints: tokens shuffled by their mask, every block's
attention written out, targets of every clone repeated. Nothing of mae3d is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def layer_norm(x: Tensor, state: State, name: str, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def slopes(heads: int) -> list[float]:
    if math.log2(heads).is_integer():
        start = 2 ** (-(2 ** -(math.log2(heads) - 3)))
        return [start * start**i for i in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


def alibi(count: int, heads: int, scale: Tensor) -> Tensor:
    """Bias of all steps [heads, count, count]; ``scale`` (1, 1, heads, 1, 1)."""
    step = torch.arange(count, dtype=scale.dtype)
    distance = -(step[None] - step[:, None]).abs()
    return distance * torch.tensor(slopes(heads), dtype=scale.dtype)[:, None, None] * scale.clamp(min=0)[0, 0]


def block(
    x: Tensor, state: State, name: str, heads: int, eps: float, bias: Tensor | None = None, pad: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Post-norm block -> its output and what its MLP gave. ``bias`` [B, heads, N, N], ``pad`` bool [B, N]."""
    batch, count, width = x.shape
    shape = (batch, count, 3, heads, width // heads)
    query, key, value = linear(x, state, f"{name}.attn.qkv").reshape(shape).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-2, -1) * (width // heads) ** -0.5
    if bias is not None:
        scores = scores + bias
    if pad is not None:
        scores = scores.masked_fill(pad[:, None, None], -math.inf)
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, count, width)
    x = layer_norm(x + linear(mixed, state, f"{name}.attn.proj"), state, f"{name}.norm1", eps)
    branch = linear(F.gelu(linear(x, state, f"{name}.mlp.fc1")), state, f"{name}.mlp.fc2")
    return layer_norm(x + branch, state, f"{name}.norm2", eps), branch


def run(
    x: Tensor, state: State, prefix: str, heads: int, eps: float, bias: Tensor | None = None, pad: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    branches, index = [], 0
    while f"{prefix}{index}.norm1.weight" in state:
        x, branch = block(x, state, f"{prefix}{index}", heads, eps, bias, pad)
        branches.append(branch)
        index += 1
    return x, branches


def take(x: Tensor, index: Tensor) -> Tensor:
    return torch.gather(x, 1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def make_targets(branches: list[Tensor], last: int, layer: str, average: str) -> Tensor:
    """``layer`` norm ("instance" or "layer") of each of the last branches, then ``average`` of their mean."""
    total = torch.zeros_like(branches[0])
    for branch in branches[-last:]:
        axis = 1 if layer == "instance" else 2
        mean = branch.mean(axis, keepdim=True)
        total += (branch - mean) / (branch.var(axis, unbiased=False, keepdim=True) + 1e-5).sqrt()
    y = total / last
    if average != "none":
        axis = 1 if average == "instance" else 2
        y = (y - y.mean(axis, keepdim=True)) / (y.var(axis, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return y


def decode(latents: Tensor, removed: Tensor, order: Tensor, state: State, name: str, side: int | None, residual: bool):
    """Latents of the kept steps (shuffled) and zeros at removed ones, put back, convolved, projected -> [B, N, D]."""
    batch, kept, width = latents.shape
    restore = torch.argsort(order, dim=1)
    filler = latents.new_zeros(batch, removed.shape[1] - kept, width)
    x = take(torch.cat([latents, filler], 1), restore).transpose(1, 2)
    if side is not None:
        x = x.reshape(batch, width, side, side)
    index = 0
    while f"{name}.blocks.{index}.0.weight" in state:
        weight, bias = state[f"{name}.blocks.{index}.0.weight"], state[f"{name}.blocks.{index}.0.bias"]
        convolution = F.conv1d if side is None else F.conv2d
        groups, kernel = x.shape[1] // weight.shape[1], weight.shape[2]
        y = convolution(x, weight, bias, padding=kernel // 2, groups=groups)
        for axis in range(2, y.dim()):
            y = y.narrow(axis, 0, x.shape[axis])  # an even kernel gives one more
        y = F.gelu(F.layer_norm(y.movedim(1, -1), y.shape[1:2]).movedim(-1, 1))
        x = x + y if residual and x.shape == y.shape else y
        index += 1
    x = x.flatten(2).transpose(1, 2)
    if f"{name}.proj.weight" in state:
        return linear(x, state, f"{name}.proj")
    return linear(F.gelu(linear(x, state, f"{name}.proj.0")), state, f"{name}.proj.2")


def contextualize(
    x: Tensor, state: State, place: str, heads: int, eps: float, removed: Tensor | None, padding: Tensor | None = None
) -> dict[str, Tensor]:
    """Local features to what the main blocks take: positions, removal, bias, extra token, norm, the prenet blocks."""
    steps, bias, order = x.shape[1], None, None
    if f"{place}.fixed_positional_encoder.positions" in state:
        x = x + state[f"{place}.fixed_positional_encoder.positions"]
    if removed is not None:
        x = x.repeat_interleave(len(removed) // len(x), 0)
        order = torch.argsort(removed.long(), dim=1, stable=True)
        kept = order[:, : int((~removed[0]).sum())]
        padding = None if padding is None else padding.repeat_interleave(len(removed) // len(padding), 0)
    relative = None
    if f"{place}.relative_positional_encoder.1.0.weight" in state:
        shown = x if removed is None else x * (~removed).unsqueeze(-1)
        relative, index = shown.transpose(1, 2), 1
        while f"{place}.relative_positional_encoder.{index}.0.weight" in state:
            name = f"{place}.relative_positional_encoder.{index}.0"
            weight, offset = state[f"{name}.weight"], state[f"{name}.bias"]
            groups = relative.shape[1] // weight.shape[1]
            relative = F.conv1d(relative, weight, offset, padding=weight.shape[2] // 2, groups=groups)[..., :steps]
            relative = F.gelu(F.layer_norm(relative.transpose(1, 2), relative.shape[1:2]).transpose(1, 2))
            index += 1
        x = x + relative.transpose(1, 2)
    if f"{place}.alibi_scale" in state:
        bias = alibi(steps, heads, state[f"{place}.alibi_scale"]).expand(len(x), -1, -1, -1)
    if removed is not None:
        x = take(x, kept)
        padding = None if padding is None else padding.gather(1, kept)
        if bias is not None:
            bias = torch.stack([one[:, row][:, :, row] for one, row in zip(bias, kept)])
    if f"{place}.extra_tokens" in state:
        x = torch.cat([state[f"{place}.extra_tokens"].expand(len(x), -1, -1), x], 1)
    if f"{place}.context_encoder.norm.weight" in state:
        x = layer_norm(x, state, f"{place}.context_encoder.norm", eps)
    x, _ = run(x, state, f"{place}.context_encoder.blocks.", heads, eps, bias, padding)
    return {"x": x, "bias": bias, "padding": padding, "order": order}


def image_features(images: Tensor, state: State) -> Tensor:
    weight = state["modality_encoders.IMAGE.local_encoder.proj.weight"]
    bias = state["modality_encoders.IMAGE.local_encoder.proj.bias"]
    return F.conv2d(images, weight, bias, stride=weight.shape[2:]).flatten(2).transpose(1, 2)


def image(
    images: Tensor, removed: Tensor, state: State, heads: int, last: int, class_weight: float, eps: float = 1e-6
) -> dict[str, Tensor]:
    """``removed`` bool [B M, N] -> losses before they are summed, target and prediction of all tokens, latents."""
    place = "modality_encoders.IMAGE"
    teacher = {name.removeprefix("_ema."): value for name, value in state.items() if name.startswith("_ema.")}
    given = contextualize(image_features(images, state), state, place, heads, eps, removed)
    latents, _ = run(given["x"], state, "blocks.", heads, eps)
    seen = contextualize(image_features(images, teacher), teacher, place, heads, eps, None)
    _, branches = run(seen["x"], teacher, "blocks.", heads, eps)
    y = make_targets([branch[:, 1:] for branch in branches], last, "instance", "layer")
    side = math.isqrt(removed.shape[1])
    prediction = decode(latents[:, 1:], removed, given["order"], state, f"{place}.decoder", side, True)
    clones = len(removed) // len(images)
    scale = 1 / math.sqrt(y.shape[-1])
    error = ((prediction - y.repeat_interleave(clones, 0)) ** 2)[removed] * scale
    class_error = (latents[:, 0] - y.mean(1).repeat_interleave(clones, 0)) ** 2 * scale
    sample_size = removed.sum()
    return {
        "regression": error.sum() / sample_size,
        "cls": class_error.sum() * (class_weight * sample_size) / sample_size,
        "target": y,
        "prediction": prediction,
        "latents": latents,
    }


def image_classifier(images: Tensor, state: State, heads: int, eps: float = 1e-6) -> Tensor:
    """Fine-tuned model: mean over the tokens without the extra one, ``fc_norm``, ``head``."""
    inner = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    given = contextualize(image_features(images, inner), inner, "modality_encoders.IMAGE", heads, eps, None)
    x, _ = run(given["x"], inner, "blocks.", heads, eps)
    return linear(layer_norm(x[:, 1:].mean(1), state, "fc_norm", 1e-6), state, "head")


def sound_features(waveforms: Tensor, strides: list[int], state: State) -> Tensor:
    place = "modality_encoders.AUDIO"
    x = waveforms.unsqueeze(1)
    for index, stride in enumerate(strides):
        x = F.conv1d(x, state[f"{place}.local_encoder.conv_layers.{index}.0.weight"], stride=stride).transpose(1, 2)
        x = F.gelu(layer_norm(x, state, f"{place}.local_encoder.conv_layers.{index}.2.1", 1e-5).transpose(1, 2))
    x = layer_norm(x.transpose(1, 2), state, f"{place}.project_features.1", 1e-5)
    return linear(x, state, f"{place}.project_features.2")


def audio(
    waveforms: Tensor, strides: list[int], removed: Tensor, state: State, heads: int, last: int, eps: float = 1e-5
) -> dict[str, Tensor]:
    """As :func:`image`; the teacher takes the student's local features."""
    place = "modality_encoders.AUDIO"
    teacher = {name.removeprefix("_ema."): value for name, value in state.items() if name.startswith("_ema.")}
    local = sound_features(waveforms, strides, state)
    given = contextualize(local, state, place, heads, eps, removed)
    latents, _ = run(given["x"], state, "blocks.", heads, eps, given["bias"])
    seen = contextualize(local, teacher, place, heads, eps, None)
    _, branches = run(seen["x"], teacher, "blocks.", heads, eps, seen["bias"])
    y = make_targets(branches, last, "instance", "none").detach()
    prediction = decode(latents, removed, given["order"], state, f"{place}.decoder", None, True)
    error = ((prediction - y.repeat_interleave(len(removed) // len(y), 0)) ** 2)[removed] / math.sqrt(y.shape[-1])
    return {"regression": error.sum() / removed.sum(), "target": y, "prediction": prediction, "latents": latents}


def text(
    ids: Tensor,
    removed: Tensor,
    state: State,
    heads: int,
    last: int,
    norms: tuple[str, str],
    pad: int = 1,
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """``ids`` [B, N], padded; the teacher is a list of blocks behind the student's embedding."""
    place = "modality_encoders.TEXT"
    filled = ids != pad
    places = filled.long().cumsum(1) * filled + pad
    x = state[f"{place}.local_encoder.embed_tokens.weight"][ids]
    x = x + state[f"{place}.local_encoder.embed_positions.weight"][places]
    local = layer_norm(x, state, f"{place}.local_encoder.layernorm_embedding", 1e-5)
    padding = None if filled.all() else ~filled
    given = contextualize(local, state, place, heads, eps, removed, padding)
    latents, _ = run(given["x"], state, "blocks.", heads, eps, None, given["padding"])
    _, branches = run(local, state, "_ema.", heads, eps, None, padding)
    y = make_targets(branches, last, *norms).detach()
    prediction = decode(latents, removed, given["order"], state, f"{place}.decoder", None, False)
    error = ((prediction - y.repeat_interleave(len(removed) // len(y), 0)) ** 2)[removed]
    return {"regression": error.sum() / removed.sum(), "target": y, "prediction": prediction, "latents": latents}
