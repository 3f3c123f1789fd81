"""data2vec 2.0 on text, see ``data2vec2.py``.

    packed token ids --word + place, LayerNorm, dropout--> tokens, padded to the longest text
    8 masks of every text: int(N (1 - 0.48)) tokens drawn at random stay visible
    visible tokens --12 post-norm blocks--> latents
    latents and noise --5 convolutions without residual--> features of the hidden tokens --2 linear layers--> width 768
    y: mean of the teacher's last 12 MLP outputs, each instance-normed over the text

The teacher averages the blocks alone and takes the student's embedded tokens, with the student's dropout, as published;
there is neither a norm before the blocks nor a class token. Padding is not seen, but may be hidden and predicted, as
published: pre-train on blocks of one length. Errors are not scaled by 1 / sqrt(C).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mae3d.errors import DataError
from mae3d.models.backbones import ViT
from mae3d.models.building import evaluating
from mae3d.models.decoders import ConvDecoder
from mae3d.models.layers import initialize
from mae3d.models.losses import SummedRegression
from mae3d.models.masking import RandomMasking
from mae3d.models.methods.data2vec2 import Data2Vec2, FeaturePrediction
from mae3d.models.targets import LayerAverage
from mae3d.models.targets.layer_average import FeatureNorm
from mae3d.models.tokenizers import RobertaEmbedding
from mae3d.registry import MODELS
from mae3d.structures import Mask


@MODELS.register_module()
class Data2Vec2Text(Data2Vec2):
    """Text, with the base model's hyper-parameters as defaults.

    Args:
        vocab_size: Number of ids.
        max_length: Longest text.
        padding_id: Id of padding: 1 in RoBERTa's vocabulary, 0 in BERT's.
        embed_dim: Width of the encoder C.
        depth: Its blocks.
        num_heads: Its attention heads.
        dropout: Behind embedding, attention and MLP.
        attention_dropout: Of attention weights.
        decoder_dim: Width of the decoder.
        decoder_depth: Its convolutions.
        decoder_kernel: Their width in tokens.
        decoder_groups: Groups of each.
        decoder_dropout: On its input.
        mask_noise: Standard deviation of the noise at hidden tokens.
        mask_ratio: Share of hidden tokens; int(N (1 - ratio)) stay visible.
        masks_per_sample: Masks M of every text.
        target_layers: Last blocks of the teacher that are averaged, K.
        layer_norm: Of each of them, see :class:`LayerAverage`.
        average_norm: Of their mean.
        loss_scale: See :class:`SummedRegression`.
        loss_beta: Likewise.
        ema_decay: Share of the teacher's old weights that an update keeps.
        ema_end_decay: That share from update ``ema_anneal_steps`` on, reached linearly.
        ema_anneal_steps: Updates in which it gets there.
        pooling: Of :meth:`extract_features`: "mean" over what is no padding.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 50265,
        max_length: int = 512,
        padding_id: int = 1,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        decoder_dim: int = 768,
        decoder_depth: int = 5,
        decoder_kernel: int = 9,
        decoder_groups: int = 1,
        decoder_dropout: float = 0.1,
        mask_noise: float = 0.01,
        mask_ratio: float = 0.48,
        masks_per_sample: int = 8,
        target_layers: int = 12,
        layer_norm: FeatureNorm = "instance",
        average_norm: FeatureNorm = "none",
        loss_scale: float | None = 1.0,
        loss_beta: float = 0.0,
        ema_decay: float = 0.9999,
        ema_end_decay: float = 0.99999,
        ema_anneal_steps: int = 100_000,
        pooling: Literal["mean"] = "mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        projection = nn.Sequential(
            nn.Linear(decoder_dim, 2 * decoder_dim), nn.GELU(), nn.Linear(2 * decoder_dim, embed_dim)
        )
        initialize(projection, "trunc_normal")
        super().__init__(
            tokenizer=RobertaEmbedding(vocab_size, embed_dim, max_length, padding_id=padding_id, dropout=dropout),
            position_embedding=nn.Identity(),
            encoder=ViT(
                embed_dim,
                depth,
                num_heads,
                position="none",
                norm="post",
                norm_eps=1e-5,
                final_norm=False,
                dropout=dropout,
                attention_dropout=attention_dropout,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=RandomMasking(mask_ratio, exact="visible"),
            decoder=ConvDecoder(
                decoder_dim,
                decoder_depth,
                decoder_kernel,
                decoder_groups,
                input_dim=embed_dim,
                residual=False,
                input_dropout=decoder_dropout,
                noise=mask_noise,
            ),
            target=LayerAverage(embed_dim, target_layers, layer_norm, average_norm),
            projection=projection,
            teacher_parts=("encoder",),
            teacher={"decay": ema_decay, "end_decay": ema_end_decay, "anneal_steps": ema_anneal_steps},
            masks_per_sample=masks_per_sample,
            loss=SummedRegression(loss_scale, loss_beta),
            modality="tokens",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )

    def forward(
        self,
        tokens: Tensor | None = None,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor | None = None,
        label: Tensor | None = None,
        mask: Mask | None = None,
        generator: torch.Generator | None = None,
        **batch: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch of packed texts: ``tokens`` int64 [T], ``offsets`` int64 [B + 1]; else as the parent does."""
        if tokens is None or offsets is None:
            lacking = "tokens" if tokens is None else "offsets"
            raise DataError(f"Data2Vec2Text needs the field {lacking!r} of a batch, beside it {sorted(batch)}")
        if mode == "tensor":
            return self.predict_masked(tokens, offsets, mask, generator).prediction
        if mode == "loss":
            self.follow()
            return self.losses(self.predict_masked(tokens, offsets, mask, generator))
        if mode == "predict":
            features = self.extract_features(tokens, offsets)
            labels = [{}] * len(features) if label is None else [{"label": own} for own in label]
            return [{"features": row, **own} for row, own in zip(features, labels)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def predict_masked(
        self,
        tokens: Tensor,
        offsets: Tensor,
        mask: Mask | None = None,
        generator: torch.Generator | None = None,
        **_: Any,
    ) -> FeaturePrediction:
        """Hide tokens of M copies of every text and predict the teacher's features of them."""
        return self.predict_tokens(self.tokenizer(tokens, offsets), mask, generator)

    @torch.no_grad()
    def extract_features(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Feature of every text [B, C] for probes: eval mode, nothing hidden, mean over its tokens."""
        with evaluating(self):
            embedded = self.tokenizer(tokens, offsets)
            latents = self.encode(embedded)
        if embedded.padding is None:
            return latents.mean(dim=1)
        filled = (~embedded.padding).unsqueeze(-1)
        return (latents * filled).sum(dim=1) / filled.sum(dim=1)


@MODELS.register_module()
def data2vec2_text_base(**overrides: Any) -> Data2Vec2Text:
    """Width 768, 12 blocks."""
    return Data2Vec2Text(**overrides)


@MODELS.register_module()
def data2vec2_text_large(**overrides: Any) -> Data2Vec2Text:
    """Width 1024, 24 blocks; half of the tokens hidden; layers normed by token, their mean over the text."""
    large = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "mask_ratio": 0.5, "target_layers": 24}
    return Data2Vec2Text(**{**large, "layer_norm": "layer", "average_norm": "instance", **overrides})


@MODELS.register_module()
def data2vec2_text_tiny(**overrides: Any) -> Data2Vec2Text:
    """Width 96, 4 blocks, texts of 64 tokens: trains on a CPU."""
    small = {"vocab_size": 2000, "max_length": 64, "padding_id": 0, "embed_dim": 96, "depth": 4, "num_heads": 4}
    decoder = {"decoder_dim": 96, "decoder_depth": 3, "decoder_kernel": 5, "masks_per_sample": 4, "target_layers": 4}
    ema = {"ema_decay": 0.99, "ema_end_decay": 0.999, "ema_anneal_steps": 500}
    return Data2Vec2Text(**{**small, **decoder, **ema, **overrides})


@MODELS.register_module()
def data2vec2_text_test(**overrides: Any) -> Data2Vec2Text:
    """The smallest model, without noise and dropout so that a pass can be replayed."""
    small = {"vocab_size": 160, "max_length": 24, "embed_dim": 24, "depth": 3, "num_heads": 3, "target_layers": 2}
    off = {"dropout": 0.0, "attention_dropout": 0.0, "decoder_dropout": 0.0, "mask_noise": 0.0}
    decoder = {"decoder_dim": 16, "decoder_depth": 2, "decoder_kernel": 3, "masks_per_sample": 2}
    return Data2Vec2Text(**{**small, **off, **decoder, **overrides})
