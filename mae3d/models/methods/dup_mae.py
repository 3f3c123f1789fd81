"""DupMAE (RetroMAE-2): Duplex masked auto-encoder (Liu et al., ACL 2023, arXiv 2305.02564; first 2211.08769).

    encoder and decoder of RetroMAE; the decoder's query is embedded like a word (kind, place, LayerNorm, dropout)
    masked-language scores of all tokens but [CLS], the largest over the text for each word --> [V]
    their log-softmax must be high at the words of the text: a second decoder without parameters
    the three losses, the last one times 0.1

Parent: :class:`RetroMAE`. The paper sums over the different words of a text; the code, followed here, divides that by
the number of tokens, repeats counted (``bag_weights="unique"`` divides by the number of different words). The scores of
some texts exist while their maxima are taken, never those of a batch.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from mae3d.models.decoders import LexicalHead
from mae3d.models.methods.retro_mae import TEST, TINY, QueryEmbedding, RetroMAE
from mae3d.registry import MODELS


@MODELS.register_module()
class DupMAE(RetroMAE):
    """RetroMAE with a bag of words beside the decoder.

    Args:
        bag_weight: Weight of the bag-of-words loss.
        bag_weights: See :class:`LexicalHead`.
        query_embedding: See :class:`RetroMAE`.
        gradient_checkpointing: See :class:`RetroMAE`.
        **options: See :class:`RetroMAE`.
    """

    def __init__(
        self,
        *,
        bag_weight: float = 0.1,
        bag_weights: Literal["length", "unique"] = "length",
        query_embedding: QueryEmbedding = "bert_embed",
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(query_embedding=query_embedding, gradient_checkpointing=gradient_checkpointing, **options)
        self.bag = LexicalHead("max", bag_weights, chunk=self.chunk)
        self.bag_weight = bag_weight

    def further_losses(self, latents: Tensor, tokens: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        """The bag-of-words loss, weighted; the latents are those of the text with hidden words."""
        if not self.bag_weight:
            return {}
        return {"loss_bag": self.bag_weight * self.bag(self.scores, latents, tokens, offsets)}


@MODELS.register_module()
def dup_mae_base(**overrides: Any) -> DupMAE:
    """Around BERT-base: 116.6 M parameters, those of RetroMAE."""
    return DupMAE(**overrides)


@MODELS.register_module()
def dup_mae_tiny(**overrides: Any) -> DupMAE:
    """Width 96, 2 blocks, 2,000 words: trains on a CPU."""
    return DupMAE(**{**TINY, **overrides})


@MODELS.register_module()
def dup_mae_test(**overrides: Any) -> DupMAE:
    """The smallest model with every mechanism in it, for tests."""
    return DupMAE(**{**TEST, "chunk": 10, **overrides})
