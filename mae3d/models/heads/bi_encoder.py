"""Retrieval and similarity of texts: one encoder for queries and passages, compared by the product of their vectors.

Source: the fine-tuning of RetroMAE's repository: [CLS], dot product, tied encoders.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError, DataError
from mae3d.models.building import build, evaluating
from mae3d.models.losses.contrastive import Reduction, contrastive_loss, distillation_loss, gather_rows, inner_products
from mae3d.models.methods.bert import encode, encoder_parts
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth
from mae3d.models.methods.retro_mae import TEST, TINY
from mae3d.registry import MODELS

PAIR = ("query_tokens", "query_offsets", "passage_tokens", "passage_offsets")
"""Fields of a batch of pairs."""
PASSED_ON = ("score", "role", "index", "label", "namesake")
"""Fields of a batch with one value a text or pair that "predict" gives along with its results."""


class TextVectors(NamedTuple):
    """Representations of N texts.

    Attributes:
        dense: [N, D].
        lexical: [N, V], scores of words; None where texts have none.
    """

    dense: Tensor
    lexical: Tensor | None = None


@MODELS.register_module()
class BiEncoder(BaseModel):
    """BERT over packed texts; one vector a text.

    Batches are pairs (``query_tokens``, ``query_offsets``, ``passage_tokens``, ``passage_offsets``; each query has the
    same number G of passages, the first one answers it) or single texts (``tokens``, ``offsets``).

    Args:
        vocab_size: Number V of token ids.
        embed_dim: Width.
        depth: Encoder blocks.
        num_heads: Attention heads.
        max_length: Largest number of tokens of a text.
        dropout: Of embeddings, branches and softmax weights.
        pooling: "cls", the latent of the first token, or "mean" over all tokens.
        similarity: "dot", or "cosine" of the vectors.
        temperature: Divides similarities in the losses.
        negatives_across_devices: Passages of all processes are negatives of each query.
        distill: Train on ``teacher_scores`` [Q, G] of the batch too.
        contrastive_weight: Weight of the contrastive loss beside distillation.
        distill_reduction: See :func:`distillation_loss`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    modality = "text_pairs"
    fresh: tuple[str, ...] = ()
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        *,
        vocab_size: int = 30522,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        max_length: int = 512,
        dropout: float = 0.1,
        pooling: Literal["cls", "mean"] = "cls",
        similarity: Literal["dot", "cosine"] = "dot",
        temperature: float = 1.0,
        negatives_across_devices: bool = True,
        distill: bool = False,
        contrastive_weight: float = 1.0,
        distill_reduction: Reduction = "element",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        if pooling not in ("cls", "mean") or similarity not in ("dot", "cosine"):
            raise ConfigError(
                f'{type(self).__name__}: pooling must be "cls" or "mean" and similarity "dot" or "cosine", got '
                f"{pooling!r} and {similarity!r}"
            )
        if distill_reduction not in ("element", "query"):
            raise ConfigError(
                f'{type(self).__name__}: distill_reduction must be "element" or "query", got {distill_reduction!r}'
            )
        if temperature <= 0:
            raise ConfigError(f"{type(self).__name__}: temperature must be positive, got {temperature}")
        parts = encoder_parts(
            vocab_size=vocab_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            max_length=max_length,
            dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.tokenizer, self.encoder = parts["tokenizer"], parts["encoder"]
        self.pooling, self.similarity, self.temperature = pooling, similarity, temperature
        self.negatives_across_devices = negatives_across_devices
        self.distill, self.contrastive_weight = distill, contrastive_weight
        self.distill_reduction = distill_reduction

    def forward(
        self, inputs: None = None, mode: Literal["tensor", "loss", "predict"] = "tensor", **batch: Any
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            inputs: Not used; texts are fields of the batch.
            mode: "tensor" gives the similarities [Q, P] of all queries and passages of the batch; "loss" the training
                losses; "predict" one dict per pair with the ``similarity`` (cosine; of combined representations their
                product) of the query and its first passage, or, for single texts, one with their representations.
            **batch: Fields of the batch.
        """
        if mode == "predict" and "tokens" in batch:
            return self.represent(batch)
        missing = [name for name in PAIR if name not in batch]
        if missing:
            raise DataError(f"{type(self).__name__} needs the fields {missing} of a batch, got {sorted(batch)}")
        if mode not in ("tensor", "loss", "predict"):
            raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')
        queries = self.vectors(batch["query_tokens"], batch["query_offsets"])
        passages = self.vectors(batch["passage_tokens"], batch["passage_offsets"])
        if mode == "tensor":
            return self.similarities(queries, passages)
        if mode == "loss":
            return self.compute_loss(queries, passages, batch.get("teacher_scores"))
        return self.predict(queries, passages, batch)

    def vectors(self, tokens: Tensor, offsets: Tensor) -> TextVectors:
        """Representations of packed texts."""
        latents = encode(self.tokenizer, self.encoder, tokens, offsets)
        return TextVectors(self._unit(self._pool(latents, offsets)))

    def _pool(self, latents: Tensor, offsets: Tensor) -> Tensor:
        if self.pooling == "cls":
            return latents[offsets[:-1]]
        counts = offsets.diff()
        text = torch.repeat_interleave(counts, output_size=len(latents))
        total = latents.new_zeros(len(counts), latents.shape[1]).index_add(0, text, latents)
        return total / counts.unsqueeze(1)

    def _unit(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.similarity == "cosine" else vectors

    def similarities(self, queries: TextVectors, passages: TextVectors) -> Tensor:
        """Similarities [Q, P] of all pairs."""
        return inner_products(queries.dense, passages.dense)

    def compute_loss(self, queries: TextVectors, passages: TextVectors, teacher: Tensor | None) -> dict[str, Tensor]:
        """Contrastive loss over all passages of all processes, and distillation where it is asked for."""
        losses = {}
        if self.distill:
            losses["loss_distill"] = distillation_loss(
                self._own(queries, passages, teacher), teacher, self.temperature, self.distill_reduction
            )
        if self.negatives_across_devices:
            queries, passages = (
                TextVectors(*(None if part is None else gather_rows(part) for part in side))
                for side in (queries, passages)
            )
        scores = self.similarities(queries, passages)
        weight = self.contrastive_weight if self.distill else 1.0
        answers = torch.arange(len(scores), device=scores.device) * (scores.shape[1] // len(scores))
        found = (scores.detach().argmax(dim=1) == answers).float().mean()
        return {**losses, "loss_contrastive": weight * contrastive_loss(scores, self.temperature), "accuracy": found}

    def _own(self, queries: TextVectors, passages: TextVectors, teacher: Tensor | None) -> Tensor:
        """Similarities [Q, G] of each query and its own passages."""
        count = len(queries.dense)
        group = len(passages.dense) // count
        if teacher is None or tuple(teacher.shape) != (count, group):
            found = "none" if teacher is None else f"shape {list(teacher.shape)}"
            raise DataError(
                f"{type(self).__name__}: distillation needs teacher_scores [{count}, {group}] in the batch, got {found}"
            )
        own = torch.arange(count * group, device=teacher.device).view(count, group)
        return self.similarities(queries, passages).gather(1, own)

    @torch.no_grad()
    def predict(self, queries: TextVectors, passages: TextVectors, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Similarity of each query and its first passage, with what the batch says about the pair."""
        first = slice(None, None, len(passages.dense) // len(queries.dense))
        answers = TextVectors(*(None if part is None else part[first] for part in passages))
        return rows_of({"similarity": self.pair_similarities(queries, answers)}, batch)

    def pair_similarities(self, first: TextVectors, second: TextVectors) -> Tensor:
        """Cosine [N] of each text of the first and of the second."""
        return F.cosine_similarity(first.dense, second.dense)

    @torch.no_grad()
    def represent(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Representation of each text, with what the batch says about it."""
        found = {"embedding": self.vectors(batch["tokens"], batch["offsets"]).dense}
        return rows_of(found, batch)

    @torch.no_grad()
    def extract_features(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Vectors of packed texts [B, D] in eval mode."""
        with evaluating(self):
            return self.vectors(tokens, offsets).dense

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers; without a head nothing is behind the last block."""
        layer, layers = encoder_layer_depth(name, self.encoder.depth)
        return layer, layers if hasattr(self, "head") else layers - 1


def rows_of(found: dict[str, Tensor], batch: dict[str, Any]) -> list[dict[str, Tensor]]:
    """One dict per text of stacked results and of the batch's own values, ragged ones cut by their offsets."""
    columns = {**found, **{name: batch[name] for name in PASSED_ON if name in batch}}
    if "relevant" in batch:
        counts = batch["relevant_offsets"].diff().tolist()
        columns |= {name: batch[name].split(counts) for name in ("relevant", "gains")}
    return [dict(zip(columns, values)) for values in zip(*columns.values(), strict=True)]


@MODELS.register_module()
def bi_encoder_tiny(**overrides: Any) -> BiEncoder:
    """Around the encoder of ``retro_mae_tiny``."""
    return BiEncoder(**{**TINY, **overrides})


@MODELS.register_module()
def bi_encoder_test(**overrides: Any) -> BiEncoder:
    """Around the encoder of ``retro_mae_test``."""
    return BiEncoder(**{**TEST, "temperature": 4.0, **overrides})
