"""Token ids to embedded tokens, as RoBERTa does it (arXiv 1907.11692)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.errors import DataError
from mae3d.models.layers import Packing
from mae3d.registry import MODELS
from mae3d.structures import Tokens


@MODELS.register_module()
class RobertaEmbedding(nn.Module):
    """Word and place added, then LayerNorm and dropout; texts are padded to the longest.

    Places are counted from ``padding_id`` + 1 on, padding has the place ``padding_id``; both rows of padding are zero
    and do not learn.

    Args:
        vocab_size: Number V of ids.
        embed_dim: Width C.
        max_length: Longest text.
        padding_id: Id of padding.
        norm_eps: Epsilon of LayerNorm.
        dropout: Rate behind it.
    """

    def __init__(
        self,
        vocab_size: int = 50265,
        embed_dim: int = 768,
        max_length: int = 512,
        *,
        padding_id: int = 1,
        norm_eps: float = 1e-5,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.max_length = max_length
        self.padding_id = padding_id
        self.word = nn.Embedding(vocab_size, embed_dim, padding_id)
        self.place = nn.Embedding(max_length + padding_id + 1, embed_dim, padding_id)
        for table in (self.word, self.place):
            nn.init.normal_(table.weight, std=0.02)
            nn.init.zeros_(table.weight[padding_id])
        self.norm = nn.LayerNorm(embed_dim, norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tokens:
        """Embed packed texts.

        Args:
            tokens: int64 [T], ids.
            offsets: int64 [B + 1].

        Returns:
            Tokens with ``features`` [B, N, C], ``content`` their ids [B, N], ``coordinates`` [B, N, 1] their numbers,
            and ``padding``, None where all texts are equally long.

        Raises:
            DataError: A text is too long, or an id is outside the vocabulary.
        """
        packing = Packing.from_offsets(offsets)
        if packing.max_length > self.max_length:
            raise DataError(
                f"RobertaEmbedding: a text has {packing.max_length} tokens, there are places for {self.max_length}; "
                "give the data set a smaller max_length or the model a larger one"
            )
        if not tokens.is_cuda and tokens.numel():  # a GPU asserts the range itself
            lowest, highest = tokens.amin().item(), tokens.amax().item()
            if lowest < 0 or highest >= self.word.num_embeddings:
                raise DataError(
                    f"RobertaEmbedding: ids range from {lowest} to {highest}, the model knows "
                    f"{self.word.num_embeddings}; set its vocab_size to the size of the data set's vocabulary"
                )
        ids = packing.pad(tokens, self.padding_id)  # [B, N]
        filled = ids != self.padding_id
        places = filled.cumsum(dim=1) * filled + self.padding_id
        features = self.dropout(self.norm(self.word(ids) + self.place(places)))
        count = ids.shape[1]
        numbers = torch.arange(count, dtype=torch.float32, device=ids.device).view(1, -1, 1).expand(len(ids), -1, -1)
        padding = ~filled if len(tokens) < ids.numel() else None
        return Tokens(features, numbers, ids, grid=(count,), padding=padding)
