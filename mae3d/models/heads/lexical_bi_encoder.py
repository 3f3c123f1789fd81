"""Texts represented by a reduced [CLS] vector and their highest-scored words.

Source: the representation that DupMAE's paper (arXiv 2211.08769) describes; no code was released for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.decoders import LexicalHead
from mae3d.models.heads.bi_encoder import BiEncoder, TextVectors, rows_of
from mae3d.models.losses.contrastive import inner_products
from mae3d.models.methods.bert import encode, language_parts
from mae3d.models.methods.retro_mae import TEST
from mae3d.registry import MODELS


@MODELS.register_module()
class LexicalBiEncoder(BiEncoder):
    """DupMAE's representation: a reduced [CLS] vector and the text's highest-scored words.

    A text is c = W h of its first latent and z [V], its masked-language scores, the largest over its tokens but the
    first. The similarity is <c_q, c_p> + sum of z_q z_p over the ``keep`` words that are highest in the passage.

    Args:
        reduced_dim: Width m of c.
        keep: Words that represent a passage; None keeps all.
        gradient_checkpointing: See :class:`BiEncoder`.
        **options: See :class:`BiEncoder`; the similarity is a product, the pooling that of [CLS].
    """

    fresh = ("reduce.",)

    def __init__(
        self,
        *,
        reduced_dim: int = 384,
        keep: int | None = 384,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(gradient_checkpointing=gradient_checkpointing, **options)
        if self.similarity != "dot" or self.pooling != "cls":
            raise ConfigError('LexicalBiEncoder: similarity must be "dot" and pooling "cls"')
        vocab_size = self.tokenizer.word.num_embeddings
        if keep is not None and not 0 < keep <= vocab_size:
            raise ConfigError(f"LexicalBiEncoder: keep must be in [1, {vocab_size}] or None, got {keep}")
        self.head = language_parts(vocab_size, self.encoder.embed_dim)["head"]
        self.words = LexicalHead("max")
        self.reduce = nn.Linear(self.encoder.embed_dim, reduced_dim, bias=False)
        nn.init.normal_(self.reduce.weight, std=0.02)
        self.keep = keep

    def vectors(self, tokens: Tensor, offsets: Tensor) -> TextVectors:
        """Both parts of packed texts."""
        latents = encode(self.tokenizer, self.encoder, tokens, offsets)
        scores = self.words.pool(lambda rows: self.head(rows, self.tokenizer.word.weight), latents, offsets)
        return TextVectors(self.reduce(self._pool(latents, offsets)), scores)

    def similarities(self, queries: TextVectors, passages: TextVectors) -> Tensor:
        """Similarities [Q, P] of all pairs."""
        kept = passages.lexical
        if self.keep is not None:
            values, words = kept.topk(self.keep, dim=-1)
            kept = torch.zeros_like(kept).scatter(1, words, values)
        return super().similarities(queries, passages) + inner_products(queries.lexical, kept)

    def pair_similarities(self, first: TextVectors, second: TextVectors) -> Tensor:
        """The similarity itself [N]."""
        return self.similarities(first, second).diagonal()

    @torch.no_grad()
    def represent(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Both parts of each text: ``lexical`` [V] of a query (``role`` 0), ids and values of a passage's words."""
        dense, scores = self.vectors(batch["tokens"], batch["offsets"])
        roles = batch["role"].tolist() if "role" in batch else [1] * len(scores)
        rows = rows_of({"embedding": dense}, batch)
        for row, role, own in zip(rows, roles, scores):
            if role:
                row["lexical_values"], row["lexical_ids"] = own.topk(self.keep or len(own))
            else:
                row["lexical"] = own
        return rows


@MODELS.register_module()
def lexical_bi_encoder_test(**overrides: Any) -> LexicalBiEncoder:
    """Around the encoder and head of ``dup_mae_test``, with every option in use."""
    return LexicalBiEncoder(**{**TEST, "reduced_dim": 8, "keep": 20, "distill": True, **overrides})
