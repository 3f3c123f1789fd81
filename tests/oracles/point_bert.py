"""Point-BERT and its dVAE restated from their specification, on official-layout state dicts.

Plain functions over tensors named as in the official files; shares no code with the package.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.oracles.point_mae import (
    State,
    _batch_norm,
    _conv,
    _dense,
    _layer_norm,
    _linear,
    _position,
    _statistics,
    blocks,
    embed,
    furthest_points,
    group,
)


def _group_norm(x: Tensor, state: State, key: str) -> Tensor:
    """Four groups of the channels of [C, ...] of one sample."""
    parts = []
    for part in x.chunk(4):
        parts.append((part - part.mean()) / (part.var(unbiased=False) + 1e-5).sqrt())
    shape = (-1, *(1,) * (x.dim() - 1))
    return torch.cat(parts) * state[f"{key}.weight"].view(shape) + state[f"{key}.bias"].view(shape)


def _edges(own_xyz: Tensor, own: Tensor, far_xyz: Tensor, far: Tensor, state: State, key: str, k: int) -> Tensor:
    """Edge convolution of one sample: [C, Q] at own_xyz [Q, 3] from [C, S] at far_xyz [S, 3]."""
    near = torch.cdist(own_xyz.double(), far_xyz.double()).argsort(dim=1, stable=True)[:, :k]
    features = torch.stack([far[:, near[:, j]] - own for j in range(k)], dim=2)  # [C, Q, k]
    features = torch.cat((features, own[:, :, None].expand(-1, -1, k)))
    features = torch.einsum("oc,cqk->oqk", state[f"{key}.0.weight"][:, :, 0, 0], features)
    return F.leaky_relu(_group_norm(features, state, f"{key}.1"), 0.2).amax(2)


def dgcnn(features: Tensor, centers: Tensor, state: State, key: str, k: int = 4) -> Tensor:
    """[B, G, C] -> [B, G, out]."""
    result = []
    for xyz, x in zip(centers, features):
        x = _conv(x.T[None], state, f"{key}.input_trans")[0]
        levels = []
        for layer in range(1, 5):
            x = _edges(xyz, x, xyz, x, state, f"{key}.layer{layer}", k)
            levels.append(x)
        x = _conv(torch.cat(levels)[None], state, f"{key}.layer5.0")[0]
        result.append(F.leaky_relu(_group_norm(x, state, f"{key}.layer5.1"), 0.2).T)
    return torch.stack(result)


def unfold(features: Tensor, state: State, training: bool) -> tuple[Tensor, Tensor]:
    """Folding decoder: [B, G, C] -> coarse [B, G, M, 3] and fine [B, G, 4 M, 3]."""
    batch, groups, _ = features.shape
    rows = features.flatten(0, 1)
    x = _linear(_linear(rows, state, "decoder.mlp.0").relu(), state, "decoder.mlp.2").relu()
    coarse = _linear(x, state, "decoder.mlp.4").view(len(rows), -1, 3)
    seeds = torch.tensor([[-0.05, -0.05], [0.05, -0.05], [-0.05, 0.05], [0.05, 0.05]])
    points = [
        torch.cat((rows, seed.expand(len(rows), 2), coarse[:, m]), dim=1)
        for m in range(coarse.shape[1])
        for seed in seeds
    ]
    x = torch.stack(points, dim=2)  # [B G, C + 5, K]
    x = _batch_norm(_conv(x, state, "decoder.final_conv.0"), state, "decoder.final_conv.1", training).relu()
    x = _batch_norm(_conv(x, state, "decoder.final_conv.3"), state, "decoder.final_conv.4", training).relu()
    fine = _conv(x, state, "decoder.final_conv.6").transpose(1, 2) + coarse.repeat_interleave(4, dim=1)
    return coarse.view(batch, groups, -1, 3), fine.view(batch, groups, -1, 3)


def chamfer_l1(a: Tensor, b: Tensor) -> Tensor:
    """Half of the mean nearest distances both ways, [P, K, 3] and [P, L, 3]."""
    distance = (a[:, :, None] - b[:, None]).square().sum(-1)
    return (distance.amin(2).sqrt().mean() + distance.amin(1).sqrt().mean()) / 2


def autoencode(cloud: Tensor, noise: Tensor, temperature: float, state: State, groups: int, size: int, training: bool):
    """dVAE pass -> scores, coarse and fine points, the two distances and the divergence."""
    patches, centers = group(cloud, groups, size)
    scores = dgcnn(embed(patches, state, "encoder.", training), centers, state, "dgcnn_1")
    weights = ((scores + noise) / temperature).softmax(-1)
    features = dgcnn(weights @ state["codebook"], centers, state, "dgcnn_2")
    coarse, fine = unfold(features, state, training)
    target = patches.flatten(0, 1)
    mean = scores.softmax(-1).mean(1)
    uniform = torch.full_like(mean, 1 / mean.shape[1])
    divergence = F.kl_div(mean.log(), uniform.log(), reduction="batchmean", log_target=True)
    distances = chamfer_l1(coarse.flatten(0, 1), target), chamfer_l1(fine.flatten(0, 1), target)
    return {"scores": scores, "coarse": coarse, "fine": fine, "distances": distances, "divergence": divergence}


def _part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def transform(patches, centers, masked, source, state: State, heads: int, training: bool):
    """One transformer on patches [B, G, K, 3] -> (class latent [B, C], latents [B, G, C])."""
    batch = len(patches)
    tokens = _linear(embed(patches, state, "encoder.", training), state, "reduce_dim")
    if source is not None:
        flat = tokens.detach().flatten(0, 1)
        for b, n in (source >= 0).nonzero().tolist():
            tokens = tokens.clone()
            tokens[b, n] = flat[source[b, n]]
    w = masked[..., None].float()
    tokens = tokens * (1 - w) + state["mask_token"] * w
    x = torch.cat((state["cls_token"].repeat(batch, 1, 1), tokens), dim=1)
    position = torch.cat((state["cls_pos"].repeat(batch, 1, 1), _position(centers, state, "pos_embed")), dim=1)
    x = _layer_norm(blocks(x, position, state, "blocks.blocks", heads)[-1], state, "norm")
    return x[:, 0], x[:, 1:]


def project(latent: Tensor, state: State) -> Tensor:
    """Class latent -> contrast vector, not normalised."""
    return _linear(F.gelu(_linear(latent, state, "cls_head.0")), state, "cls_head.2")


def pretrain(cloud, masks, share, kept, state: State, heads: int, groups: int, size: int, training: bool) -> dict:
    """Pre-training losses. ``masks``: (masked, source) of the plain, the mixed and the key pass; dVAE in eval mode."""
    patches, centers = group(cloud, groups, size)
    dvae, query, key = (_part(state, f"{name}.") for name in ("dvae", "transformer_q", "transformer_k"))
    codes = dgcnn(embed(patches, dvae, "encoder.", False), centers, dvae, "dgcnn_1").argmax(-1)
    k = kept.float()
    mixed_patches = patches * k[..., None, None] + patches.flip(0) * (1 - k[..., None, None])
    mixed_centers = centers * k[..., None] + centers.flip(0) * (1 - k[..., None])
    mixed_codes = (codes * k + codes.flip(0) * (1 - k)).long()

    def run(patches, centers, mask, state):
        first, rest = transform(patches, centers, *mask, state, heads, training)
        vector = project(first, state)
        return vector / vector.norm(dim=1, keepdim=True), _linear(rest, state, "lm_head")

    def code_loss(scores, codes, mask):
        masked, source = mask
        asked = masked if source is None else masked | (source >= 0)
        rows = scores[asked].log_softmax(-1)
        return -rows.gather(1, codes[asked][:, None]).mean()

    vector, scores = run(patches, centers, masks[0], query)
    mixed_vector, mixed_scores = run(mixed_patches, mixed_centers, masks[1], query)
    keys, _ = run(patches, centers, masks[2], key)
    plain = torch.cat(((vector * keys).sum(1)[:, None], vector @ state["queue"]), dim=1) / 0.07
    mixed = torch.cat((mixed_vector @ keys.T, mixed_vector @ state["queue"]), dim=1) / 0.07
    order = torch.arange(len(cloud))
    log = mixed.log_softmax(-1)
    pairs = share * log[order, order] + (1 - share) * log[order, order.flip(0)]
    return {
        "codes": codes,
        "keys": keys,
        "loss_codes": code_loss(scores, codes, masks[0]),
        "loss_mixed_codes": code_loss(mixed_scores, mixed_codes, masks[1]),
        "loss_contrast": -plain.log_softmax(-1)[:, 0].mean(),
        "loss_mixed_contrast": -pairs.mean(),
    }


def classify(cloud: Tensor, state: State, heads: int, groups: int, size: int) -> Tensor:
    """Logits of the fine-tuned classifier in eval mode."""
    patches, centers = group(cloud, groups, size)
    nothing = torch.zeros(centers.shape[:2], dtype=torch.bool)
    first, rest = transform(patches, centers, nothing, None, {**state, "mask_token": torch.zeros(1)}, heads, False)
    x = _linear(torch.cat((first, rest.amax(1)), dim=-1), state, "cls_head_finetune.0").relu()
    return _linear(x, state, "cls_head_finetune.3")


def _propagate(points: Tensor, centers: Tensor, own: Tensor, features: Tensor, state: State, key: str) -> Tensor:
    """[C, S] at centers [S, 3] carried to points [N, 3], which have ``own`` [D, N] -> [C', N]."""
    squared = torch.cdist(points.double(), centers.double()).square()
    nearest = squared.argsort(dim=1, stable=True)[:, :3]
    weights = 1 / (squared.gather(1, nearest) + 1e-8)
    weights = (weights / weights.sum(1, keepdim=True)).to(features.dtype)
    x = torch.cat((own, (features[:, nearest] * weights).sum(2)))[None]
    for i in range(2):
        x = _conv(x, state, f"{key}.mlp_convs.{i}")
        x = _batch_norm(x, state, f"{key}.mlp_bns.{i}", False).relu()
    return x[0]


def segment(cloud, category, state: State, heads: int, groups: int, size: int, layers: tuple[int, ...]) -> Tensor:
    """Log-probabilities [B, N, parts] of the part segmentation net in eval mode."""
    patches, all_centers = group(cloud, groups, size)
    batch = len(cloud)
    tokens = _linear(embed(patches, state, "encoder.", False), state, "reduce_dim")
    x = torch.cat((state["cls_token"].repeat(batch, 1, 1), tokens), dim=1)
    position = torch.cat((state["cls_pos"].repeat(batch, 1, 1), _position(all_centers, state, "pos_embed")), dim=1)
    outputs = blocks(x, position, state, "blocks.blocks", heads)
    levels = [_layer_norm(outputs[i], state, "norm")[:, 1:].transpose(1, 2) for i in layers]
    result = []
    for b, points in enumerate(cloud):
        level3 = all_centers[b]
        level1 = points[furthest_points(points, 4 * groups, 1e-3)]
        level2 = points[furthest_points(points, 2 * groups, 1e-3)]
        f3 = levels[2][b]
        f2 = _propagate(level2, level3, level2.T, levels[1][b], state, "propagation_2")
        f1 = _propagate(level1, level3, level1.T, levels[0][b], state, "propagation_1")
        for number, xyz, own, far_xyz, far in ((2, level2, f2, level3, f3), (1, level1, f1, level2, None)):
            far = f2 if far is None else far
            up = _edges(xyz, own, far_xyz, far, state, f"dgcnn_pro_{number}.layer1", 4)
            up = _edges(xyz, up, xyz, up, state, f"dgcnn_pro_{number}.layer2", 4)
            f2, f1 = (up, f1) if number == 2 else (f2, up)
        one_hot = F.one_hot(category[b], 16).float()[:, None].expand(-1, len(points))
        x = _propagate(points, level1, torch.cat((one_hot, points.T)), f1, state, "propagation_0")[None]
        x = _batch_norm(_conv(x, state, "conv1"), state, "bn1", False).relu()
        result.append(_conv(x, state, "conv2")[0].T.log_softmax(-1))
    return torch.stack(result)


def _embedding(state: State, prefix: str, width: int, generator: torch.Generator) -> None:
    for part, middle, layers in (
        ("first_conv", 128, ((3, 128), (128, 256))),
        ("second_conv", 512, ((512, 512), (512, width))),
    ):
        for index, (fan_in, fan_out) in zip((0, 3), layers):
            _dense(state, f"{prefix}{part}.{index}", -fan_in, fan_out, generator)
        _statistics(state, f"{prefix}{part}.1", middle, generator)


def _gain(state: State, name: str, width: int, generator: torch.Generator) -> None:
    state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
    state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)


def _edge_layer(state: State, name: str, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
    weight = torch.randn(fan_out, fan_in, 1, 1, generator=generator) / fan_in**0.5
    state[f"{name}.0.weight"] = weight
    _gain(state, f"{name}.1", fan_out, generator)


def dvae_state(width: int, codes: int, graph: int, size: int, hidden: int, seed: int = 0) -> State:
    """Random dVAE in the official layout; the published one is (256, 8192, 128, 32, 1024)."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {"codebook": torch.randn(codes, width, generator=generator)}
    _embedding(state, "encoder.", width, generator)
    for name, out in (("dgcnn_1", codes), ("dgcnn_2", width)):
        _dense(state, f"{name}.input_trans", -width, graph, generator)
        widths = [graph, 2 * graph, 4 * graph, 4 * graph, 8 * graph]
        for layer in range(4):
            _edge_layer(state, f"{name}.layer{layer + 1}", 2 * widths[layer], widths[layer + 1], generator)
        _dense(state, f"{name}.layer5.0", -sum(widths[1:]), out, generator, bias=False)
        _gain(state, f"{name}.layer5.1", out, generator)
    for index, fan_in, fan_out in ((0, width, hidden), (2, hidden, hidden), (4, hidden, 3 * size // 4)):
        _dense(state, f"decoder.mlp.{index}", fan_in, fan_out, generator)
    fold = hidden // 2
    for index, fan_in, fan_out in ((0, width + 5, fold), (3, fold, fold), (6, fold, 3)):
        _dense(state, f"decoder.final_conv.{index}", -fan_in, fan_out, generator)
    for index in (1, 4):
        _statistics(state, f"decoder.final_conv.{index}", fold, generator)
    return state


def transformer_state(patch_width: int, width: int, depth: int, seed: int) -> State:
    """What fine-tuned networks share with the pre-trained transformer."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {name: torch.randn(1, 1, width, generator=generator) for name in ("cls_token", "cls_pos")}
    _embedding(state, "encoder.", patch_width, generator)
    _dense(state, "reduce_dim", patch_width, width, generator)
    _dense(state, "pos_embed.0", 3, 128, generator)
    _dense(state, "pos_embed.2", 128, width, generator)
    for layer in (f"blocks.blocks.{i}" for i in range(depth)):
        _gain(state, f"{layer}.norm1", width, generator)
        _gain(state, f"{layer}.norm2", width, generator)
        _dense(state, f"{layer}.attn.qkv", width, 3 * width, generator, bias=False)
        _dense(state, f"{layer}.attn.proj", width, width, generator)
        _dense(state, f"{layer}.mlp.fc1", width, 4 * width, generator)
        _dense(state, f"{layer}.mlp.fc2", 4 * width, width, generator)
    _gain(state, "norm", width, generator)
    return state


def pretrain_state(dvae: State, width: int, depth: int, contrast: int, queue: int, seed: int = 1) -> State:
    """Random pre-training state in the official layout around a dVAE; key and query differ."""
    codes, patch_width = dvae["codebook"].shape
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(contrast, queue, generator=generator)
    state: State = {"queue": keys / keys.norm(dim=0), "queue_ptr": torch.tensor([queue // 2])}
    for number, name in enumerate(("transformer_q", "transformer_k")):
        own = transformer_state(patch_width, width, depth, seed + number)
        own["mask_token"] = torch.randn(1, 1, width, generator=generator)
        _dense(own, "lm_head", width, codes, generator)
        _dense(own, "cls_head.0", width, contrast, generator)
        _dense(own, "cls_head.2", contrast, contrast, generator)
        state |= {f"{name}.{key}": value for key, value in own.items()}
    return state | {f"dvae.{key}": value for key, value in dvae.items()}


def classifier_state(transformer: State, classes: int, seed: int = 3) -> State:
    """Random fine-tuned classifier around a transformer."""
    generator = torch.Generator().manual_seed(seed)
    state, width = dict(transformer), transformer["norm.weight"].shape[0]
    _dense(state, "cls_head_finetune.0", 2 * width, 256, generator)
    _dense(state, "cls_head_finetune.3", 256, classes, generator)
    return state


def segmenter_state(transformer: State, parts: int, hidden: int, seed: int = 4) -> State:
    """Random part segmentation net around a transformer."""
    generator = torch.Generator().manual_seed(seed)
    state, width = dict(transformer), transformer["norm.weight"].shape[0]
    for number, own in enumerate((19, 3, 3)):
        for i, (fan_in, fan_out) in enumerate(((own + width, 4 * width), (4 * width, width))):
            _dense(state, f"propagation_{number}.mlp_convs.{i}", -fan_in, fan_out, generator)
            _statistics(state, f"propagation_{number}.mlp_bns.{i}", fan_out, generator)
    for number in (1, 2):
        _edge_layer(state, f"dgcnn_pro_{number}.layer1", 2 * width, hidden, generator)
        _edge_layer(state, f"dgcnn_pro_{number}.layer2", 2 * hidden, width, generator)
    _dense(state, "conv1", -width, 128, generator)
    _statistics(state, "bn1", 128, generator)
    _dense(state, "conv2", -128, parts, generator)
    return state
