"""Files of BERT, RetroMAE and DupMAE as transformers lays them out: masked-language model, bare encoder, training.

Official releases are masked-language models and bare encoders; the decoder ("c_head") was never released and is found
only in the state of a training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.checkpoints.layout import Layout
from mae3d.checkpoints.vit_files import HEAD_WIDTH, count, join_projections, split_projections
from mae3d.errors import CheckpointError
from mae3d.models.methods import RetroMAE
from mae3d.models.methods.bert import encoder_parts, language_parts

State = Mapping[str, Tensor]

LAYER = {
    "attention.self.query": "attn.q",
    "attention.self.key": "attn.k",
    "attention.self.value": "attn.v",
    "attention.output.dense": "attn.proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "norm2",
}
"""Parts of a BERT layer and of our block; queries, keys and values are joined."""
OLD = {"gamma": "weight", "beta": "bias"}
"""LayerNorm's tensors in the first BERT files."""
UNUSED = re.compile(r"(lm\.)?(bert\.)?(embeddings\.position_ids$|pooler\.|cls\.seq_relationship\.)")
"""Tensors that no system here uses: the places counted, next-sentence prediction."""
ALIAS = {"decoder_embeddings.": "lm.bert.embeddings."}
"""The second name of the embeddings in a training state."""


def _embeddings(prefix: str) -> list[Rule]:
    return [
        Rule(f"{prefix}embeddings.word_embeddings", "tokenizer.word"),
        Rule(f"{prefix}embeddings.position_embeddings", "tokenizer.place"),
        Rule(f"{prefix}embeddings.token_type_embeddings", "tokenizer.kind"),
        Rule(f"{prefix}embeddings.LayerNorm", "tokenizer.norm"),
        Rule(f"{prefix}encoder.layer", "encoder.blocks"),
    ]


def _head(prefix: str) -> list[Rule]:
    return [
        Rule(f"{prefix}cls.predictions.transform.dense", "head.dense"),
        Rule(f"{prefix}cls.predictions.transform.LayerNorm", "head.norm"),
        Rule(f"{prefix}cls.predictions.bias", "head.bias"),
    ]


def _rename_layers(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Parts of layers by other names: ``<layer>.<part>.<weight or bias>``."""
    parts = sorted(map(re.escape, names), key=len, reverse=True)
    form = re.compile(rf"((?:.*\.)?encoder\.layer\.\d+|c_head)\.({'|'.join(parts)})\.(\w+)")

    def rename(name: str) -> str:
        found = form.fullmatch(name)
        return f"{found[1]}.{names[found[2]]}.{found[3]}" if found else name

    return {rename(name): value for name, value in state.items()}


def prepare(state: State) -> dict[str, Tensor]:
    """Names of one kind, without what is unused and without the head's copies of tied tensors."""
    result = {}
    for name, value in state.items():
        stem, _, last = name.rpartition(".")
        if not UNUSED.match(name):
            result[f"{stem}.{OLD[last]}" if last in OLD else name] = value
    for alias, original in ALIAS.items():
        for name in [name for name in result if name.startswith(alias)]:
            _drop_copy(result, name, original + name.removeprefix(alias))
    for prefix in ("", "lm."):
        head = f"{prefix}cls.predictions"
        if f"{head}.decoder.bias" in result:
            result.setdefault(f"{head}.bias", result[f"{head}.decoder.bias"])  # some files hold the copy alone
        _drop_copy(result, f"{head}.decoder.bias", f"{head}.bias")
        _drop_copy(result, f"{head}.decoder.weight", f"{prefix}bert.embeddings.word_embeddings.weight")
    return join_projections(_rename_layers(result, LAYER))


def _drop_copy(state: dict[str, Tensor], name: str, original: str) -> None:
    """Leave out ``name``, which must equal the tensor that it is tied to."""
    copy = state.pop(name, None)
    if copy is not None and original in state and not torch.equal(copy, state[original]):
        raise CheckpointError(f"{name} differs from {original}, to which BERT ties it")


def restore(state: State) -> dict[str, Tensor]:
    """Inverse of :func:`prepare`, with the copies of tied tensors that transformers and the training write."""
    result = _rename_layers(split_projections(state), {ours: official for official, ours in LAYER.items()})
    for prefix in ("", "lm."):
        if f"{prefix}cls.predictions.bias" in result:
            result[f"{prefix}cls.predictions.decoder.bias"] = result[f"{prefix}cls.predictions.bias"].clone()
            words = result[f"{prefix}bert.embeddings.word_embeddings.weight"]
            result[f"{prefix}cls.predictions.decoder.weight"] = words.clone()
    for alias, original in ALIAS.items():
        for name in [name for name in result if name.startswith(original)]:
            result[alias + name.removeprefix(original)] = result[name].clone()
    return result


def _size(state: State) -> dict[str, Any]:
    vocab_size, width = state["tokenizer.word.weight"].shape
    return {
        "vocab_size": vocab_size,
        "embed_dim": width,
        "depth": count(state, "encoder.blocks"),
        "num_heads": max(1, width // HEAD_WIDTH),
        "max_length": len(state["tokenizer.place.weight"]),
    }


def _encoder(state: State) -> nn.Module:
    return nn.ModuleDict(encoder_parts(**_size(state)))


def _masked_lm(state: State) -> nn.Module:
    size = _size(state)
    return nn.ModuleDict({**encoder_parts(**size), **language_parts(size["vocab_size"], size["embed_dim"])})


def _layout(kind: str, rules: list[Rule], official_marker: str, our_marker: str, build, **options: Any) -> Layout:
    common = {"wrapper": "", "prefix": "", "prepare": prepare, "restore": restore}
    return Layout(kind, KeyMap(rules), official_marker, our_marker, build, **common, **options)


LAYOUTS = (  # the first whose marker is in a file is its kind
    _layout(
        "training",
        [*_embeddings("lm.bert."), *_head("lm."), Rule("c_head", "decoder")],
        "c_head.attention.self.query.weight",
        "decoder.norm1.weight",
        lambda state: RetroMAE(**_size(state)),
    ),
    _layout(
        "masked_lm",
        [*_embeddings("bert."), *_head("")],
        "bert.embeddings.word_embeddings.weight",
        "head.bias",
        _masked_lm,
        our_extra=("decoder.",),
    ),
    _layout(
        "encoder",
        _embeddings(""),
        "embeddings.word_embeddings.weight",
        "tokenizer.word.weight",
        _encoder,
        our_extra=("decoder.", "head."),
    ),
)
