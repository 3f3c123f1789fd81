"""Point-MAE restated from its specification, on an official-layout state dict.

Plain functions over tensors named as in the official files; shares no code with the package. Runs in the dtype of
the weights it is given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def furthest_points(cloud: Tensor, count: int, skip_squared_norm: float | None) -> list[int]:
    """Indices of one cloud [N, 3]: start at 0, then always the point farthest from those chosen."""
    candidates = torch.ones(len(cloud), dtype=torch.bool)
    if skip_squared_norm is not None:
        candidates = cloud.square().sum(-1) > skip_squared_norm
    nearest = torch.full((len(cloud),), 1e10, dtype=cloud.dtype)
    chosen = [0]
    while len(chosen) < count:
        nearest = torch.minimum(nearest, (cloud - cloud[chosen[-1]]).square().sum(-1))
        chosen.append(int(torch.where(candidates, nearest, -1.0).argmax()))
    return chosen


def group(cloud: Tensor, groups: int, size: int, skip: float | None = 1e-3) -> tuple[Tensor, Tensor]:
    """Patches [B, G, K, 3] around centres [B, G, 3]."""
    patches, centers = [], []
    for points in cloud:
        center = points[furthest_points(points, groups, skip)]
        order = (center[:, None] - points[None]).square().sum(-1).argsort(dim=1, stable=True)[:, :size]
        patches.append(points[order] - center[:, None])
        centers.append(center)
    return torch.stack(patches), torch.stack(centers)


def _batch_norm(x: Tensor, state: State, key: str, training: bool) -> Tensor:
    mean, variance = state[f"{key}.running_mean"], state[f"{key}.running_var"]
    if training:
        mean, variance = x.mean((0, 2)), x.var((0, 2), unbiased=False)
    scale = state[f"{key}.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None]) * scale[:, None] + state[f"{key}.bias"][:, None]


def _conv(x: Tensor, state: State, key: str) -> Tensor:
    return F.conv1d(x, state[f"{key}.weight"], state.get(f"{key}.bias"))


def embed(patches: Tensor, state: State, prefix: str, training: bool) -> Tensor:
    """Mini-PointNet: [B, G, K, 3] -> [B, G, C]."""
    batch, groups, size, _ = patches.shape
    x = patches.reshape(-1, size, 3).transpose(1, 2)
    x = _conv(x, state, f"{prefix}first_conv.0")
    x = _conv(_batch_norm(x, state, f"{prefix}first_conv.1", training).relu(), state, f"{prefix}first_conv.3")
    x = torch.cat((x.amax(2, keepdim=True).repeat(1, 1, size), x), dim=1)
    x = _conv(x, state, f"{prefix}second_conv.0")
    x = _conv(_batch_norm(x, state, f"{prefix}second_conv.1", training).relu(), state, f"{prefix}second_conv.3")
    return x.amax(2).reshape(batch, groups, -1)


def _linear(x: Tensor, state: State, key: str) -> Tensor:
    return F.linear(x, state[f"{key}.weight"], state.get(f"{key}.bias"))


def _layer_norm(x: Tensor, state: State, key: str) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    spread = (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centered / spread * state[f"{key}.weight"] + state[f"{key}.bias"]


def _position(centers: Tensor, state: State, prefix: str) -> Tensor:
    return _linear(F.gelu(_linear(centers, state, f"{prefix}.0")), state, f"{prefix}.2")


def _block(x: Tensor, state: State, key: str, heads: int) -> Tensor:
    batch, count, width = x.shape
    q, k, v = _linear(_layer_norm(x, state, f"{key}.norm1"), state, f"{key}.attn.qkv").chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, count, heads, -1).permute(0, 2, 1, 3) for t in (q, k, v))
    weights = (q @ k.mT * (width // heads) ** -0.5).softmax(-1)
    x = x + _linear((weights @ v).permute(0, 2, 1, 3).reshape(batch, count, width), state, f"{key}.attn.proj")
    hidden = F.gelu(_linear(_layer_norm(x, state, f"{key}.norm2"), state, f"{key}.mlp.fc1"))
    return x + _linear(hidden, state, f"{key}.mlp.fc2")


def blocks(x: Tensor, position: Tensor, state: State, prefix: str, heads: int) -> list[Tensor]:
    """Outputs of all blocks named ``prefix.i``; the position is added before each."""
    outputs = []
    while f"{prefix}.{len(outputs)}.norm1.weight" in state:
        x = _block(x + position, state, f"{prefix}.{len(outputs)}", heads)
        outputs.append(x)
    return outputs


def chamfer_l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean of squared nearest distances both ways, [P, K, 3] each."""
    squared = (a[:, :, None] - b[:, None]).square().sum(-1)
    return squared.amin(2).mean() + squared.amin(1).mean()


def pretrain(cloud: Tensor, masked: Tensor, state: State, heads: int, groups: int, size: int, training: bool) -> dict:
    """Pre-training pass. ``masked`` bool [B, G]. Returns tokens, latents, prediction [B, M, K, 3] and loss."""
    patches, centers = group(cloud, groups, size)
    batch = len(cloud)
    tokens = embed(patches, state, "MAE_encoder.encoder.", training)
    visible_centers = centers[~masked].reshape(batch, -1, 3)
    masked_centers = centers[masked].reshape(batch, -1, 3)
    visible = tokens[~masked].reshape(batch, visible_centers.shape[1], -1)
    position = _position(visible_centers, state, "MAE_encoder.pos_embed")
    latents = blocks(visible, position, state, "MAE_encoder.blocks.blocks", heads)[-1]
    latents = _layer_norm(latents, state, "MAE_encoder.norm")

    hidden = masked_centers.shape[1]
    x = torch.cat((latents, state["mask_token"].repeat(batch, hidden, 1)), dim=1)
    position = _position(torch.cat((visible_centers, masked_centers), dim=1), state, "decoder_pos_embed")
    x = _layer_norm(blocks(x, position, state, "MAE_decoder.blocks", heads)[-1][:, -hidden:], state, "MAE_decoder.norm")
    prediction = _conv(x.transpose(1, 2), state, "increase_dim.0").transpose(1, 2).reshape(batch, hidden, size, 3)
    target = patches[masked].reshape(batch, hidden, size, 3)
    loss = chamfer_l2(prediction.reshape(-1, size, 3), target.reshape(-1, size, 3))
    return {"tokens": tokens, "latents": latents, "prediction": prediction, "target": target, "loss": loss}


def _dense_norm(x: Tensor, state: State, key: str) -> Tensor:
    return _batch_norm(x[:, :, None], state, key, training=False)[:, :, 0]


def classify(cloud: Tensor, state: State, heads: int, groups: int, size: int) -> Tensor:
    """Logits of the fine-tuned classifier in eval mode."""
    patches, centers = group(cloud, groups, size)
    batch = len(cloud)
    x = torch.cat((state["cls_token"].repeat(batch, 1, 1), embed(patches, state, "encoder.", False)), dim=1)
    position = torch.cat((state["cls_pos"].repeat(batch, 1, 1), _position(centers, state, "pos_embed")), dim=1)
    x = _layer_norm(blocks(x, position, state, "blocks.blocks", heads)[-1], state, "norm")
    x = torch.cat((x[:, 0], x[:, 1:].amax(1)), dim=-1)
    x = _dense_norm(_linear(x, state, "cls_head_finetune.0"), state, "cls_head_finetune.1").relu()
    x = _dense_norm(_linear(x, state, "cls_head_finetune.4"), state, "cls_head_finetune.5").relu()
    return _linear(x, state, "cls_head_finetune.8")


def segment(
    cloud: Tensor, category: Tensor, state: State, heads: int, groups: int, size: int, layers: tuple[int, ...]
) -> Tensor:
    """Log-probabilities [B, N, parts] of the part segmentation net in eval mode."""
    patches, centers = group(cloud, groups, size)
    batch, count, _ = cloud.shape
    outputs = blocks(
        embed(patches, state, "encoder.", False), _position(centers, state, "pos_embed"), state, "blocks.blocks", heads
    )
    levels = torch.cat([_layer_norm(outputs[i], state, "norm") for i in layers], dim=-1)  # [B, G, 3 C]

    squared = (cloud[:, :, None] - centers[:, None]).square().sum(-1)
    nearest = squared.argsort(dim=-1, stable=True)[..., :3]
    weights = 1.0 / (squared.gather(2, nearest) + 1e-8)
    weights = weights / weights.sum(-1, keepdim=True)
    picked = torch.stack([levels[b][nearest[b]] for b in range(batch)])  # [B, N, 3, 3 C]
    x = torch.cat((cloud, (picked * weights[..., None]).sum(2)), dim=-1).transpose(1, 2)
    for i in range(2):
        x = _conv(x, state, f"propagation_0.mlp_convs.{i}")
        x = _batch_norm(x, state, f"propagation_0.mlp_bns.{i}", False).relu()

    one_hot = F.one_hot(category, 16).to(cloud.dtype)[:, :, None]
    label = _batch_norm(_conv(one_hot, state, "label_conv.0"), state, "label_conv.1", False)
    label = F.leaky_relu(label, 0.2)
    whole = torch.cat((levels.amax(1)[:, :, None], levels.mean(1)[:, :, None], label), dim=1)
    x = torch.cat((x, whole.repeat(1, 1, count)), dim=1)
    x = _batch_norm(_conv(x, state, "convs1"), state, "bns1", False).relu()
    x = _batch_norm(_conv(x, state, "convs2"), state, "bns2", False).relu()
    return _conv(x, state, "convs3").transpose(1, 2).log_softmax(-1)


def official_state(width: int, depth: int, decoder_depth: int, size: int, seed: int = 0) -> State:
    """Random pre-training state dict in the official layout, float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float | None = None) -> Tensor:
        scale = scale or (1.0 / max(1, shape[-1] if len(shape) == 2 else shape[1] if len(shape) == 3 else 16)) ** 0.5
        return torch.randn(*shape, generator=generator) * scale

    state: State = {"mask_token": normal(1, 1, width, scale=0.5)}
    for part, conv in (("first_conv", ((3, 128), (128, 256))), ("second_conv", ((512, 512), (512, width)))):
        prefix = f"MAE_encoder.encoder.{part}"
        for index, (fan_in, fan_out) in zip((0, 3), conv):
            state[f"{prefix}.{index}.weight"] = normal(fan_out, fan_in, 1)
            state[f"{prefix}.{index}.bias"] = normal(fan_out)
        middle = conv[0][1]
        state |= {
            f"{prefix}.1.weight": 1 + normal(middle, scale=0.1),
            f"{prefix}.1.bias": normal(middle),
            f"{prefix}.1.running_mean": normal(middle),
            f"{prefix}.1.running_var": 0.5 + torch.rand(middle, generator=generator),
            f"{prefix}.1.num_batches_tracked": torch.tensor(11),
        }
    for prefix in ("MAE_encoder.pos_embed", "decoder_pos_embed"):
        for index, (fan_in, fan_out) in zip((0, 2), ((3, 128), (128, width))):
            state[f"{prefix}.{index}.weight"] = normal(fan_out, fan_in)
            state[f"{prefix}.{index}.bias"] = normal(fan_out)
    layers = [f"MAE_encoder.blocks.blocks.{i}" for i in range(depth)]
    layers += [f"MAE_decoder.blocks.{i}" for i in range(decoder_depth)]
    for layer in layers:
        for norm in ("norm1", "norm2"):
            state[f"{layer}.{norm}.weight"] = 1 + normal(width, scale=0.1)
            state[f"{layer}.{norm}.bias"] = normal(width, scale=0.1)
        state[f"{layer}.attn.qkv.weight"] = normal(3 * width, width)
        for name, fan_in, fan_out in (
            ("attn.proj", width, width),
            ("mlp.fc1", width, 4 * width),
            ("mlp.fc2", 4 * width, width),
        ):
            state[f"{layer}.{name}.weight"] = normal(fan_out, fan_in)
            state[f"{layer}.{name}.bias"] = normal(fan_out, scale=0.1)
    for norm in ("MAE_encoder.norm", "MAE_decoder.norm"):
        state[f"{norm}.weight"] = 1 + normal(width, scale=0.1)
        state[f"{norm}.bias"] = normal(width, scale=0.1)
    state["increase_dim.0.weight"] = normal(3 * size, width, 1)
    state["increase_dim.0.bias"] = normal(3 * size, scale=0.1)
    return state


def _dense(state: State, name: str, fan_in: int, fan_out: int, generator: torch.Generator, bias: bool = True) -> None:
    """A linear layer, or with ``fan_in`` negative a convolution of width 1."""
    shape = (fan_out, -fan_in, 1) if fan_in < 0 else (fan_out, fan_in)
    state[f"{name}.weight"] = torch.randn(shape, generator=generator) / abs(fan_in) ** 0.5
    if bias:
        state[f"{name}.bias"] = torch.randn(fan_out, generator=generator) * 0.1


def _statistics(state: State, name: str, width: int, generator: torch.Generator) -> None:
    state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
    state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)
    state[f"{name}.running_mean"] = torch.randn(width, generator=generator)
    state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=generator)
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def _encoder_of(pretrained: State) -> State:
    return {
        name.removeprefix("MAE_encoder."): value
        for name, value in pretrained.items()
        if name.startswith("MAE_encoder.")
    }


def classifier_state(pretrained: State, classes: int, seed: int = 1) -> State:
    """Random fine-tuned classifier around the encoder of a pre-training state."""
    generator = torch.Generator().manual_seed(seed)
    state = _encoder_of(pretrained)
    width = state["norm.weight"].shape[0]
    state["cls_token"] = torch.randn(1, 1, width, generator=generator)
    state["cls_pos"] = torch.randn(1, 1, width, generator=generator)
    _dense(state, "cls_head_finetune.0", 2 * width, 256, generator)
    _statistics(state, "cls_head_finetune.1", 256, generator)
    _dense(state, "cls_head_finetune.4", 256, 256, generator)
    _statistics(state, "cls_head_finetune.5", 256, generator)
    _dense(state, "cls_head_finetune.8", 256, classes, generator)
    return state


def segmenter_state(pretrained: State, parts: int, levels: int = 3, seed: int = 2) -> State:
    """Random part segmentation net around the encoder of a pre-training state."""
    generator = torch.Generator().manual_seed(seed)
    state = _encoder_of(pretrained)
    width = state["norm.weight"].shape[0]
    joined = levels * width
    _dense(state, "label_conv.0", -16, 64, generator, bias=False)
    _statistics(state, "label_conv.1", 64, generator)
    for index, (fan_in, fan_out) in enumerate(((joined + 3, 4 * width), (4 * width, 1024))):
        _dense(state, f"propagation_0.mlp_convs.{index}", -fan_in, fan_out, generator)
        _statistics(state, f"propagation_0.mlp_bns.{index}", fan_out, generator)
    for index, (fan_in, fan_out) in enumerate(((1024 + 2 * joined + 64, 512), (512, 256), (256, parts)), start=1):
        _dense(state, f"convs{index}", -fan_in, fan_out, generator)
        if index < 3:
            _statistics(state, f"bns{index}", fan_out, generator)
    return state
