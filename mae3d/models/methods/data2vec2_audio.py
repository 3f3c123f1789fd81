"""data2vec 2.0 on sounds, see ``data2vec2.py``.

    waveform [B, samples] at 16 kHz, mean 0 and deviation 1 --7 convolutions, LayerNorm, linear--> a token every 20 ms
    8 masks of every sound: spans of 5 tokens, half of all tokens hidden
    positions: 5 grouped convolutions over all tokens, zeros where hidden; attention also falls with distance (ALiBi)
    visible tokens --LayerNorm, 12 post-norm blocks--> latents
    latents and noise --4 grouped convolutions--> features of the hidden tokens --linear--> width 768
    y: mean of the teacher's last 8 MLP outputs, each instance-normed over time

The teacher takes the student's tokens; its positions, scale of ALiBi and blocks are its own. Official files count the
first 8 blocks of the large model as the audio's own; they are the first of the encoder here.

Official masks are made for the whole file and cut with it, so that their counts differ a little within a batch while
the gather takes those of the first row; here they are drawn for the tokens that are there, with exact counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mae3d.models.backbones import ViT
from mae3d.models.decoders import ConvDecoder
from mae3d.models.layers import AlibiBias, ConvPositions
from mae3d.models.losses import SummedRegression
from mae3d.models.masking import MultiBlockMasking
from mae3d.models.methods.data2vec2 import Data2Vec2
from mae3d.models.methods.masked_autoencoder import Pooling
from mae3d.models.targets import LayerAverage
from mae3d.models.tokenizers import WaveformTokenizer
from mae3d.models.tokenizers.waveform import WAV2VEC_LAYERS
from mae3d.registry import MODELS


@MODELS.register_module()
class Data2Vec2Audio(Data2Vec2):
    """Sounds, with the base model's hyper-parameters as defaults.

    Args:
        layers: See :class:`WaveformTokenizer`.
        embed_dim: Width of the encoder C.
        depth: Its blocks, the audio's own among them.
        num_heads: Its attention heads.
        dropout: Behind attention and MLP.
        attention_dropout: Of attention weights.
        input_dropout: Behind the first LayerNorm.
        layer_drop: Probability of a block to be skipped in training, see :class:`ViT`.
        position_depth: Convolutions of the positions.
        position_width: Tokens that they reach together.
        position_groups: Groups of each.
        decoder_dim: Width of the decoder.
        decoder_depth: Its convolutions.
        decoder_kernel: Their width in tokens.
        decoder_groups: Groups of each.
        decoder_dropout: On its input.
        mask_noise: Standard deviation of the noise at hidden tokens.
        mask_ratio: Share of hidden tokens; int(N ratio) are.
        mask_size: Tokens of a hidden span.
        mask_adjust: See :class:`MultiBlockMasking`.
        masks_per_sample: Masks M of every sound.
        target_layers: Last blocks of the teacher that are averaged, K.
        loss_scale: See :class:`SummedRegression`.
        loss_beta: Likewise.
        ema_decay: Share of the teacher's old weights that an update keeps.
        ema_end_decay: That share from update ``ema_anneal_steps`` on, reached linearly.
        ema_anneal_steps: Updates in which it gets there.
        pooling: Of :meth:`extract_features`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    def __init__(
        self,
        *,
        layers: Sequence[Sequence[int]] = WAV2VEC_LAYERS,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        input_dropout: float = 0.1,
        layer_drop: float = 0.05,
        position_depth: int = 5,
        position_width: int = 95,
        position_groups: int = 16,
        decoder_dim: int = 384,
        decoder_depth: int = 4,
        decoder_kernel: int = 7,
        decoder_groups: int = 16,
        decoder_dropout: float = 0.1,
        mask_noise: float = 0.01,
        mask_ratio: float = 0.5,
        mask_size: int = 5,
        mask_adjust: float = 0.05,
        masks_per_sample: int = 8,
        target_layers: int = 8,
        loss_scale: float | None = None,
        loss_beta: float = 0.0,
        ema_decay: float = 0.999,
        ema_end_decay: float = 0.99999,
        ema_anneal_steps: int = 75_000,
        pooling: Pooling = "mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            tokenizer=WaveformTokenizer(embed_dim, layers),
            position_embedding=ConvPositions(embed_dim, position_depth, position_width, position_groups),
            attention_bias=AlibiBias(num_heads),
            encoder=ViT(
                embed_dim,
                depth,
                num_heads,
                norm="post",
                norm_eps=1e-5,
                final_norm=False,
                input_norm=True,
                input_dropout=input_dropout,
                dropout=dropout,
                attention_dropout=attention_dropout,
                layer_drop=layer_drop,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=MultiBlockMasking(mask_ratio, mask_size, mask_adjust),
            decoder=ConvDecoder(
                decoder_dim,
                decoder_depth,
                decoder_kernel,
                decoder_groups,
                input_dim=embed_dim,
                input_dropout=decoder_dropout,
                noise=mask_noise,
            ),
            target=LayerAverage(embed_dim, target_layers, "instance"),
            teacher_parts=("position_embedding", "attention_bias", "encoder"),
            teacher={"decay": ema_decay, "end_decay": ema_end_decay, "anneal_steps": ema_anneal_steps},
            masks_per_sample=masks_per_sample,
            loss=SummedRegression(loss_scale, loss_beta),
            modality="waveform",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )


@MODELS.register_module()
def data2vec2_audio_base(**overrides: Any) -> Data2Vec2Audio:
    """Width 768, 12 blocks."""
    return Data2Vec2Audio(**overrides)


@MODELS.register_module()
def data2vec2_audio_large(**overrides: Any) -> Data2Vec2Audio:
    """Width 1024, 16 + 8 blocks, 12 masks a sound; its teacher stands still after 300 k updates."""
    large = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "layer_drop": 0.0, "decoder_dim": 768}
    masks = {"mask_ratio": 0.55, "mask_adjust": 0.1, "masks_per_sample": 12, "target_layers": 16}
    ema = {"ema_decay": 0.9997, "ema_end_decay": 1.0, "ema_anneal_steps": 300_000}
    return Data2Vec2Audio(**{**large, **masks, **ema, **overrides})


SMALL_LAYERS = ((64, 10, 5), (64, 4, 4), (64, 4, 4))
"""A token every 80 samples, 10 ms at 8 kHz, by three narrow convolutions, for a CPU."""


@MODELS.register_module()
def data2vec2_audio_tiny(**overrides: Any) -> Data2Vec2Audio:
    """Width 96, 4 blocks: trains on a CPU.

    Positions and decoder reach a few tokens only: on short sounds wider ones see both ends, and the model then falls
    into targets that tell places apart and nothing else.
    """
    small = {"layers": SMALL_LAYERS, "embed_dim": 96, "depth": 4, "num_heads": 4, "layer_drop": 0.0}
    positions = {"position_depth": 2, "position_width": 6, "position_groups": 8}
    decoder = {"decoder_dim": 48, "decoder_depth": 2, "decoder_kernel": 5, "decoder_groups": 8}
    ema = {"ema_decay": 0.999, "ema_end_decay": 0.9999, "ema_anneal_steps": 500}
    rest = {"masks_per_sample": 4, "mask_size": 3, "target_layers": 3}
    return Data2Vec2Audio(**{**small, **positions, **decoder, **ema, **rest, **overrides})


@MODELS.register_module()
def data2vec2_audio_test(**overrides: Any) -> Data2Vec2Audio:
    """The smallest model, without noise, dropout and skipped blocks so that a pass can be replayed."""
    small = {"layers": ((16, 10, 5), (16, 4, 4)), "embed_dim": 24, "depth": 3, "num_heads": 3}
    off = {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0, "decoder_dropout": 0.0, "layer_drop": 0.0}
    positions = {"position_depth": 2, "position_width": 10, "position_groups": 4, "mask_noise": 0.0}
    decoder = {"decoder_dim": 16, "decoder_depth": 2, "decoder_kernel": 3, "decoder_groups": 4}
    masks = {"mask_size": 3, "masks_per_sample": 2, "target_layers": 2}
    return Data2Vec2Audio(**{**small, **off, **positions, **decoder, **masks, **overrides})
