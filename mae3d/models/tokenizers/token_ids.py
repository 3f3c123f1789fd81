"""Token ids to embedded tokens, as BERT does it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.errors import DataError
from mae3d.models.layers import Packing
from mae3d.registry import MODELS
from mae3d.structures import Tokens


@MODELS.register_module()
class TokenEmbedding(nn.Module):
    """Word, place and kind of text added, then LayerNorm and dropout.

    Every text is of the first kind (BERT's second kind is kept, so that official files fit).

    Args:
        vocab_size: Number V of ids.
        embed_dim: Width C.
        max_length: Places that have an embedding.
        kinds: Kinds of text.
        norm_eps: Epsilon of LayerNorm.
        dropout: Share of channels set to zero in training.
    """

    def __init__(
        self,
        vocab_size: int = 30522,
        embed_dim: int = 768,
        max_length: int = 512,
        *,
        kinds: int = 2,
        norm_eps: float = 1e-12,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.word = nn.Embedding(vocab_size, embed_dim)
        self.place = nn.Embedding(max_length, embed_dim)
        self.kind = nn.Embedding(kinds, embed_dim)
        for table in (self.word, self.place, self.kind):
            nn.init.normal_(table.weight, std=0.02)
        self.norm = nn.LayerNorm(embed_dim, norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tokens:
        """Embed packed texts.

        Args:
            tokens: int64 [T], ids.
            offsets: int64 [B + 1].

        Returns:
            Features [T, C]; coordinates int64 [T, 1], the place of each token in its text; content ``tokens``.

        Raises:
            DataError: A text is longer than there are places, or an id is outside the vocabulary.
        """
        packing = Packing.from_offsets(offsets)
        if packing.max_length > self.place.num_embeddings:
            raise DataError(
                f"TokenEmbedding: a text has {packing.max_length} tokens, there are places for "
                f"{self.place.num_embeddings}; give the data set a smaller max_length or the model a larger one"
            )
        self._check_ids(tokens)
        places = packing.places
        features = self.finish(self.word(tokens), places)
        return Tokens(features, places.unsqueeze(1), tokens, offsets)

    def _check_ids(self, tokens: Tensor) -> None:
        if tokens.is_cuda or torch.compiler.is_compiling() or not tokens.numel():
            return  # a GPU would have to be waited for, and asserts the range itself
        if tokens.amin() < 0 or tokens.amax() >= self.word.num_embeddings:
            raise DataError(
                f"TokenEmbedding: ids range from {tokens.amin()} to {tokens.amax()}, the model knows "
                f"{self.word.num_embeddings}; set its vocab_size to the size of the data set's vocabulary"
            )

    def finish(self, rows: Tensor, places: Tensor) -> Tensor:
        """Rows [T, C] at ``places`` int64 [T] with kind and place added, normalised and dropped out."""
        return self.dropout(self.norm(rows + self.kind.weight[0] + self.place(places)))
