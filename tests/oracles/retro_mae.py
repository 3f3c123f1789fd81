"""RetroMAE and DupMAE written a second time, plainly: padded texts, one loop per draw, official names of weights.

Restated from the papers and the shapes of the official files. Floating point follows the state dict.
"""

from __future__ import annotations

import math
import random

import torch
from torch.nn import functional as F

EPS = 1e-12


def random_state(vocab_size=160, dim=32, depth=2, length=24, seed=0, dtype=torch.float64):
    """An official training state (module names ``lm``, ``c_head``) with no two tensors alike."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype) * 0.15

    def linear(name, out, inp):
        return {f"{name}.weight": draw(out, inp), f"{name}.bias": draw(out)}

    def norm(name):
        return {f"{name}.weight": 1 + draw(dim), f"{name}.bias": draw(dim)}

    def layer(name):
        parts = {}
        for part in ("query", "key", "value"):
            parts |= linear(f"{name}.attention.self.{part}", dim, dim)
        parts |= linear(f"{name}.attention.output.dense", dim, dim) | norm(f"{name}.attention.output.LayerNorm")
        parts |= linear(f"{name}.intermediate.dense", 4 * dim, dim) | linear(f"{name}.output.dense", dim, 4 * dim)
        return parts | norm(f"{name}.output.LayerNorm")

    embeddings = {
        "word_embeddings.weight": draw(vocab_size, dim),
        "position_embeddings.weight": draw(length, dim),
        "token_type_embeddings.weight": draw(2, dim),
        **norm("LayerNorm"),
    }
    state = {f"lm.bert.embeddings.{name}": value for name, value in embeddings.items()}
    for number in range(depth):
        state |= layer(f"lm.bert.encoder.layer.{number}")
    head = "lm.cls.predictions"
    state |= {f"{head}.bias": draw(vocab_size)}
    state |= linear(f"{head}.transform.dense", dim, dim) | norm(f"{head}.transform.LayerNorm")
    state |= {f"{head}.decoder.weight": embeddings["word_embeddings.weight"]}
    state |= {f"{head}.decoder.bias": state[f"{head}.bias"]}
    state |= {f"decoder_embeddings.{name}": value for name, value in embeddings.items()}
    return state | layer("c_head")


def normalised(state, name, x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS) * state[f"{name}.weight"] + state[f"{name}.bias"]


def affine(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def bert_layer(state, name, query, memory, seen, heads):
    """``seen`` bool [B, Lq, Lk]; rows that see nothing give numbers nobody looks at."""
    parts = [affine(state, f"{name}.attention.self.query", query)]
    parts += [affine(state, f"{name}.attention.self.{part}", memory) for part in ("key", "value")]
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores + (1 - seen.to(scores.dtype))[:, None] * torch.finfo(scores.dtype).min
    context = (scores.softmax(-1) @ v).transpose(1, 2).flatten(-2)
    attended = affine(state, f"{name}.attention.output.dense", context)
    x = normalised(state, f"{name}.attention.output.LayerNorm", attended + query)
    fed = affine(state, f"{name}.output.dense", gelu(affine(state, f"{name}.intermediate.dense", x)))
    return normalised(state, f"{name}.output.LayerNorm", fed + x)


def embed(state, rows):
    """Word rows [B, L, C] with type and position, normalised."""
    name = "lm.bert.embeddings"
    places = state[f"{name}.position_embeddings.weight"][: rows.shape[1]]
    return normalised(state, f"{name}.LayerNorm", rows + state[f"{name}.token_type_embeddings.weight"][0] + places)


def encode(state, ids, real, heads):
    x = embed(state, state["lm.bert.embeddings.word_embeddings.weight"][ids])
    seen = real[:, None].expand(-1, ids.shape[1], -1)
    depth = sum(name.startswith("lm.bert.encoder.layer.") and name.endswith("self.query.bias") for name in state)
    for number in range(depth):
        x = bert_layer(state, f"lm.bert.encoder.layer.{number}", x, x, seen, heads)
    return x


def word_scores(state, x):
    name = "lm.cls.predictions"
    x = normalised(state, f"{name}.transform.LayerNorm", gelu(affine(state, f"{name}.transform.dense", x)))
    return x @ state["lm.bert.embeddings.word_embeddings.weight"].T + state[f"{name}.bias"]


def forward(state, texts, inputs, masked, matrices, heads, *, query="raw_pos", bag_weight=0.0):
    """Losses and decoder scores of lists of B texts: ids, corrupted ids, masked bool, attention matrices [n, n]."""
    length = max(map(len, texts))
    ids, changed = torch.zeros(2, len(texts), length, dtype=torch.int64)
    real = torch.zeros(len(texts), length, dtype=torch.bool)
    labels, targets = torch.full((2, len(texts), length), -100)
    seen = torch.zeros(len(texts), length, length)
    for b, text in enumerate(texts):
        n = len(text)
        ids[b, :n], changed[b, :n], real[b, :n] = text, inputs[b], True
        labels[b, :n][masked[b]] = text[masked[b]]
        targets[b, 1 : n - 1] = text[1:-1]
        seen[b, :n, :n] = matrices[b]
    hidden = encode(state, changed, real, heads)
    scores = word_scores(state, hidden)
    sentence = hidden[:, :1]
    memory = torch.cat((sentence, embed(state, state["lm.bert.embeddings.word_embeddings.weight"][ids])[:, 1:]), 1)
    if query == "raw_pos":
        asked = sentence + state["lm.bert.embeddings.position_embeddings.weight"][:length]
    else:
        asked = embed(state, sentence.expand(-1, length, -1))
    decoded = word_scores(state, bert_layer(state, "c_head", asked, memory, seen, heads))
    losses = {
        "loss_encoder": F.cross_entropy(scores.flatten(0, 1), labels.flatten()),
        "loss_decoder": F.cross_entropy(decoded.flatten(0, 1), targets.flatten()),
    }
    if bag_weight:
        weights = torch.zeros(len(texts), scores.shape[-1], dtype=scores.dtype)
        for b, text in enumerate(texts):
            for word in text[1:-1].tolist():
                weights[b, word] = 1 / (len(text) - 2)
        offset = (~real[:, 1:, None]).to(scores.dtype) * -1000
        pooled = torch.max(scores[:, 1:] + offset, dim=1).values
        losses["loss_bag"] = bag_weight * -(weights * torch.log_softmax(pooled, -1)).sum(1).mean()
    return losses, decoded


def greedy_words(lengths, budget):
    """Words in order, each taken if it fits."""
    taken, total = [], 0
    for length in lengths:
        fits = length > 0 and total < budget and total + length <= budget
        taken.append(fits)
        total += length if fits else 0
    return taken


def whole_word_mask(pieces, ratio, rng: random.Random):
    """0/1 list over WordPieces with specials, as the official collator draws it."""
    words = []
    for number, piece in enumerate(pieces):
        if piece in ("[CLS]", "[SEP]"):
            continue
        if words and piece.startswith("##"):
            words[-1].append(number)
        else:
            words.append([number])
    rng.shuffle(words)
    budget = min(512, max(1, round(len(pieces) * ratio)))
    chosen = greedy_words([len(word) for word in words], budget)
    hidden = {number for word, fits in zip(words, chosen) if fits for number in word}
    return [int(number in hidden) for number in range(len(pieces))]
