"""RetroMAE: Retrieval-oriented language models via masked auto-encoder (Xiao et al., EMNLP 2022, arXiv 2205.12035).

    [CLS] text [SEP], 30 % of the tokens hidden by whole words --BERT--> latents --masked-language head--> hidden words
    h, the latent of [CLS] alone, goes on: query_i = h + place_i, memory = (h, embeddings of the text as it was)
    --one layer, every position sees its own random half of the memory and never itself--> features
    --the same head--> every word of the text
    both cross entropies, added

Texts are packed, never padded; only the decoder's attention, which needs a mask per position, works on a padded copy.
All draws of a batch are made at once on the device; the official collator makes them one by one in Python.

The paper adds positions to both streams alike. The released code, followed here, puts BERT's whole embedding (kind,
LayerNorm, dropout) on the memory and the bare table of positions on the query. :class:`DupMAE` embeds the query too:
``query_embedding``.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError
from mae3d.models.building import build, evaluating
from mae3d.models.decoders import EnhancedDecoder, word_loss
from mae3d.models.layers import Packing, initialize
from mae3d.models.masking import EnhancedMasking
from mae3d.models.methods.bert import NORM_EPS, encode, encoder_parts, language_parts
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth, take_input
from mae3d.registry import MODELS
from mae3d.structures import TextMask

QueryEmbedding = Literal["raw_pos", "bert_embed"]


class WordPrediction(NamedTuple):
    """One pass of a text autoencoder.

    Attributes:
        prediction: Scores of the words that the encoder must predict [M, V] and of those of the decoder [D, V].
        target: Their ids, int64 [M] and [D].
        mask: What was hidden.
        latents: [T, C], of the encoder.
    """

    prediction: tuple[Tensor, Tensor]
    target: tuple[Tensor, Tensor]
    mask: TextMask
    latents: Tensor


@MODELS.register_module()
class RetroMAE(BaseModel):
    """RetroMAE around BERT-base, with the published hyper-parameters as defaults.

    Args:
        vocab_size: Number V of token ids.
        embed_dim: Width.
        depth: Encoder blocks.
        num_heads: Attention heads of encoder and decoder.
        max_length: Largest number of tokens of a text.
        dropout: Of embeddings, branches and softmax weights.
        encoder_ratio: Share of tokens hidden from the encoder.
        decoder_ratio: Share of tokens that a position of the decoder does not see.
        draws: Masks that the positions of one text share, see :class:`EnhancedMasking`.
        mask_id: Id of [MASK].
        special_ids: Ids that the encoder never has to predict.
        query_embedding: "raw_pos": the latent plus the bare embedding of the place; "bert_embed": plus kind and place,
            with LayerNorm and dropout (DupMAE).
        chunk: Rows whose scores over the vocabulary exist at a time.
        gradient_checkpointing: Recompute encoder blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually BERT's weights (``PretrainedEncoder``).
    """

    modality = "tokens"
    fresh = ("decoder.",)
    """Prefixes of tensors that a pre-training file need not hold: the decoder was never released."""

    def __init__(
        self,
        *,
        vocab_size: int = 30522,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        max_length: int = 512,
        dropout: float = 0.1,
        encoder_ratio: float = 0.3,
        decoder_ratio: float = 0.5,
        draws: int = 256,
        mask_id: int = 103,
        special_ids: tuple[int, ...] = (0, 100, 101, 102, 103),
        query_embedding: QueryEmbedding = "raw_pos",
        chunk: int = 4096,
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        if query_embedding not in ("raw_pos", "bert_embed"):
            raise ConfigError(
                f'{type(self).__name__}: query_embedding must be "raw_pos" or "bert_embed", got {query_embedding!r}'
            )
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
        self.head = language_parts(vocab_size, embed_dim)["head"]
        self.masking = EnhancedMasking(
            encoder_ratio,
            decoder_ratio,
            vocab_size=vocab_size,
            mask_id=mask_id,
            special_ids=special_ids,
            draws=draws,
        )
        self.decoder = EnhancedDecoder(
            embed_dim, num_heads, norm_eps=NORM_EPS, dropout=dropout, attention_dropout=dropout
        )
        initialize(self.decoder, "trunc_normal")
        self.query_embedding = query_embedding
        self.chunk = chunk

    def forward(
        self,
        tokens: Tensor | None = None,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor | None = None,
        words: Tensor | None = None,
        mask: TextMask | None = None,
        generator: torch.Generator | None = None,
        **batch: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch of packed texts.

        Args:
            tokens: int64 [T], ids with the special tokens at both ends of each text.
            mode: "tensor" gives the scores of the words that the encoder must predict [M, V], "loss" the training
                losses, "predict" one dict per text with its ``features``, the latent of its first token.
            offsets: int64 [B + 1].
            words: int64 [T], number of the word of each token within its text, -1 at the special tokens.
            mask: Draw to use instead of a new one.
            generator: Source of the draw; None: the global RNG of the device.
            **batch: Fields of the batch; those not named here are not used.
        """
        tokens = take_input(self, tokens, batch)
        if offsets is None:
            raise DataError(f"{type(self).__name__} needs offsets [B + 1] beside tokens; batches: collate_tokens")
        if mode == "tensor":
            return self.predict_masked(tokens, offsets, words, mask, generator).prediction[0]
        if mode == "loss":
            return self.compute_loss(tokens, offsets, words, mask, generator)
        if mode == "predict":
            return [{"features": row} for row in self.extract_features(tokens, offsets)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(
        self,
        tokens: Tensor,
        offsets: Tensor,
        words: Tensor | None = None,
        mask: TextMask | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Cross entropy of the encoder over the words hidden from it, and of the decoder over all words."""
        packing, mask = self._prepare(tokens, offsets, words, mask, generator)
        latents = encode(self.tokenizer, self.encoder, mask.inputs, offsets)
        decoded, inner = self.decode(latents, tokens, packing, mask), self._inner(packing)
        return {
            "loss_encoder": word_loss(self.scores, latents[mask.masked], tokens[mask.masked], self.chunk),
            "loss_decoder": word_loss(self.scores, decoded[inner], tokens[inner], self.chunk),
            **self.further_losses(latents, tokens, offsets),
        }

    def further_losses(self, latents: Tensor, tokens: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        """Losses that a successor adds; none here."""
        return {}

    def predict_masked(
        self,
        tokens: Tensor,
        offsets: Tensor,
        words: Tensor | None = None,
        mask: TextMask | None = None,
        generator: torch.Generator | None = None,
    ) -> WordPrediction:
        """Hide words and predict them; unlike the losses with all scores at once."""
        packing, mask = self._prepare(tokens, offsets, words, mask, generator)
        latents = encode(self.tokenizer, self.encoder, mask.inputs, offsets)
        decoded, inner = self.decode(latents, tokens, packing, mask), self._inner(packing)
        prediction = self.scores(latents[mask.masked]), self.scores(decoded[inner])
        return WordPrediction(prediction, (tokens[mask.masked], tokens[inner]), mask, latents)

    def _prepare(
        self,
        tokens: Tensor,
        offsets: Tensor,
        words: Tensor | None,
        mask: TextMask | None,
        generator: torch.Generator | None,
    ) -> tuple[Packing, TextMask]:
        packing = Packing.from_offsets(offsets)
        if mask is not None:
            return packing, mask
        if words is None:
            raise DataError(
                f"{type(self).__name__} hides whole words and needs words [T] beside tokens: the number of the word "
                "that each token belongs to, -1 at special tokens (TextDocuments and TokenBlocks give it)"
            )
        return packing, self.masking(tokens, words, packing, generator)

    def decode(self, latents: Tensor, tokens: Tensor, packing: Packing, mask: TextMask) -> Tensor:
        """Features [T, C] of the decoder, which knows of the encoder the latent of each first token alone."""
        query, memory = self.streams(latents, tokens, packing)
        return self.decoder(query, memory, packing, mask.seen)

    def streams(self, latents: Tensor, tokens: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Query and memory of the decoder, both [T, C]."""
        firsts = packing.offsets[:-1]
        sentence = latents[firsts]  # [B, C]
        embedded = self.tokenizer(tokens, packing.offsets).features
        memory = embedded.index_copy(0, firsts, sentence.to(embedded.dtype))
        spread = sentence[packing.sample]
        if self.query_embedding == "bert_embed":
            return self.tokenizer.finish(spread, packing.places), memory
        return spread + self.tokenizer.place(packing.places), memory

    def scores(self, rows: Tensor) -> Tensor:
        """Scores over the vocabulary [..., V] of latents [..., C]."""
        return self.head(rows, self.tokenizer.word.weight)

    @staticmethod
    def _inner(packing: Packing) -> Tensor:
        """Bool [T], all tokens but the first and the last of each text."""
        inner = torch.ones_like(packing.sample, dtype=torch.bool)
        inner[packing.offsets[:-1]] = inner[packing.offsets[1:] - 1] = False
        return inner

    @torch.no_grad()
    def extract_features(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Latent of the first token of each text [B, C]: eval mode, nothing hidden."""
        with evaluating(self):
            return encode(self.tokenizer, self.encoder, tokens, offsets)[offsets[:-1]]

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)


TINY = {"vocab_size": 2000, "embed_dim": 96, "depth": 2, "num_heads": 4, "max_length": 64}
TEST = {"vocab_size": 160, "embed_dim": 32, "depth": 2, "num_heads": 2, "max_length": 24}


@MODELS.register_module()
def retro_mae_base(**overrides: Any) -> RetroMAE:
    """Around BERT-base: 116.6 M parameters, of which 7.1 M are the decoder's."""
    return RetroMAE(**overrides)


@MODELS.register_module()
def retro_mae_tiny(**overrides: Any) -> RetroMAE:
    """Width 96, 2 blocks, 2,000 words: trains on a CPU."""
    return RetroMAE(**{**TINY, **overrides})


@MODELS.register_module()
def retro_mae_test(**overrides: Any) -> RetroMAE:
    """The smallest model with every mechanism in it, for tests; scores in several chunks."""
    return RetroMAE(**{**TEST, "chunk": 10, **overrides})
