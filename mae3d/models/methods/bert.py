"""BERT (Devlin et al., arXiv 1810.04805) as parts of this house: what the text systems share."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.models.backbones import ViT
from mae3d.models.decoders import WordHead
from mae3d.models.tokenizers import TokenEmbedding

NORM_EPS = 1e-12


def encoder_parts(
    *,
    vocab_size: int = 30522,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    max_length: int = 512,
    dropout: float = 0.1,
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer and encoder: post-norm blocks with exact GELU, dropout at every branch and on softmax weights."""
    return {
        "tokenizer": TokenEmbedding(vocab_size, embed_dim, max_length, norm_eps=NORM_EPS, dropout=dropout),
        "encoder": ViT(
            embed_dim,
            depth,
            num_heads,
            position="none",
            norm="post",
            norm_eps=NORM_EPS,
            final_norm=False,
            dropout=dropout,
            attention_dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
        ),
    }


def language_parts(vocab_size: int = 30522, embed_dim: int = 768) -> dict[str, nn.Module]:
    """The masked-language head, whose output embeddings are those of the tokenizer."""
    return {"head": WordHead(embed_dim, vocab_size, NORM_EPS)}


def encode(tokenizer: nn.Module, encoder: nn.Module, tokens: Tensor, offsets: Tensor) -> Tensor:
    """Latents [T, C] of packed texts."""
    return encoder(tokenizer(tokens, offsets).features, offsets=offsets)
