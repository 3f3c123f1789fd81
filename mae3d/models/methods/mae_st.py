"""MAE-ST: Masked Autoencoders As Spatiotemporal Learners (Feichtenhofer et al., NeurIPS 2022, arXiv 2205.09113).

    clip [B, 3, 16, 224, 224] --tubelets of 2 x 16 x 16--> 1568 tokens
    1412 of them (90 %) hidden at random in space and time; class token + 156 visible ones, learned positions
    (place + time slot) --12 blocks--> latents; the class latent is dropped
    latents --linear--> width 512; the decoder's own class token, visible and mask tokens --4 blocks--> features
    one linear layer --> 16 x 16 pixels of one frame for each hidden token, normalised and compared as in MAE

Differs from MAE in: clips; learned separable positions; the decoder's own class token; one target frame per token,
which are frames 0, 2, 4, ..., 12 and 15 of 16; input normalised with mean 0.45 and deviation 0.225 on every channel.

Official code followed where the paper is silent: the decoder's class token starts at zero and decoder depth is 4 (the
flag's default is 8). Query, key and value projections, three layers officially, are one here; files convert both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from mae3d.errors import ConfigError
from mae3d.models.backbones import ViT
from mae3d.models.decoders import AppendDecoder
from mae3d.models.layers import SeparablePositions, initialize
from mae3d.models.losses import SquaredError
from mae3d.models.masking import RandomMasking, SharedMasking
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, Pooling
from mae3d.models.targets import FrameTarget
from mae3d.models.tokenizers import PatchTokenizer
from mae3d.registry import MODELS

MEAN, STD = 0.45, 0.225
"""Of the input's normalisation, on every channel."""


def clip_grid(clip_size: Sequence[int], tubelet: Sequence[int]) -> tuple[int, int, int]:
    """Tokens along time, rows and columns."""
    return tuple(size // patch for size, patch in zip(clip_size, tubelet))


def encoder_parts(
    *,
    clip_size: Sequence[int] = (16, 224, 224),
    tubelet: Sequence[int] = (2, 16, 16),
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    drop_path: float = 0.0,
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer, position embedding and encoder, as pre-training and every downstream network use them."""
    return {
        "tokenizer": PatchTokenizer(tubelet, embed_dim, initialization="xavier_uniform"),
        "position_embedding": SeparablePositions(embed_dim, clip_grid(clip_size, tubelet)),
        "encoder": ViT(
            embed_dim,
            depth,
            num_heads,
            drop_path=drop_path,
            class_token=True,
            initialization="xavier_uniform",
            gradient_checkpointing=gradient_checkpointing,
        ),
    }


def _masking(kind: str, ratio: float) -> nn.Module:
    kinds = {
        "random": lambda: RandomMasking(ratio, exact="visible"),
        "space": lambda: SharedMasking(ratio, (0,)),
        "time": lambda: SharedMasking(ratio, (1, 2)),
    }
    if kind not in kinds:
        raise ConfigError(f"MAEST: masking must be one of {sorted(kinds)}, got {kind!r}")
    return kinds[kind]()


@MODELS.register_module()
class MAEST(MaskedAutoencoder):
    """MAE-ST with ViT-B and the published hyper-parameters as defaults.

    Args:
        clip_size: (frames, rows, columns) of a clip.
        tubelet: (frames, rows, columns) of a token.
        embed_dim: Width of the encoder.
        depth: Encoder blocks.
        num_heads: Encoder attention heads.
        decoder_dim: Width of the decoder.
        decoder_depth: Decoder blocks.
        decoder_num_heads: Decoder attention heads.
        mask_ratio: Share of hidden tokens; with random masking int(N * (1 - ratio)) stay visible.
        masking: "random" in space and time, or the ablation's "space" (tubes) and "time" (whole time slots).
        predicted_frames: Frames that are predicted, see :class:`FrameTarget`.
        norm_pix: Predict pixels normalised by their patch's mean and variance.
        pooling: Of :meth:`extract_features`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    def __init__(
        self,
        *,
        clip_size: Sequence[int] = (16, 224, 224),
        tubelet: Sequence[int] = (2, 16, 16),
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        decoder_dim: int = 512,
        decoder_depth: int = 4,
        decoder_num_heads: int = 16,
        mask_ratio: float = 0.9,
        masking: Literal["random", "space", "time"] = "random",
        predicted_frames: int = 8,
        norm_pix: bool = True,
        pooling: Pooling = "mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        grid = clip_grid(clip_size, tubelet)
        super().__init__(
            **encoder_parts(
                clip_size=clip_size,
                tubelet=tubelet,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=_masking(masking, mask_ratio),
            decoder=AppendDecoder(
                decoder_dim,
                decoder_depth,
                decoder_num_heads,
                position_embedding=SeparablePositions(decoder_dim, grid),
                input_dim=embed_dim,
                class_token="own",
                class_position=True,
                gradient_checkpointing=gradient_checkpointing,
            ),
            target=FrameTarget(
                tubelet,
                clip_size[0],
                predicted_frames,
                normalize="joint" if norm_pix else "none",
                mean=MEAN,
                std=STD,
            ),
            loss=SquaredError(),
            modality="video",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        initialize(self.prediction, "xavier_uniform")
        nn.init.zeros_(self.decoder.class_token)
        self.tokens_per_sample = grid[0] * grid[1] * grid[2]


@MODELS.register_module()
def mae_st_base(**overrides: Any) -> MAEST:
    """ViT-B on clips of 16 frames."""
    return MAEST(**overrides)


@MODELS.register_module()
def mae_st_large(**overrides: Any) -> MAEST:
    """ViT-L, the published recipe's size."""
    return MAEST(**{"embed_dim": 1024, "depth": 24, "num_heads": 16, **overrides})


@MODELS.register_module()
def mae_st_huge(**overrides: Any) -> MAEST:
    """ViT-H with patches of 14, as in the official pre-training file."""
    return MAEST(**{"tubelet": (2, 14, 14), "embed_dim": 1280, "depth": 32, "num_heads": 16, **overrides})


SMALL_CLIPS: dict[str, Any] = {"clip_size": (8, 64, 64), "tubelet": (2, 8, 8)}
"""Clips on which a CPU trains in about a minute."""


@MODELS.register_module()
def mae_st_tiny(**overrides: Any) -> MAEST:
    """Width 128, 4 + 2 blocks on clips of 8 frames of 64 pixels: trains on a CPU."""
    small = {**SMALL_CLIPS, "embed_dim": 128, "depth": 4, "num_heads": 4, "predicted_frames": 4}
    return MAEST(**{**small, "decoder_dim": 64, "decoder_depth": 2, "decoder_num_heads": 4, **overrides})


@MODELS.register_module()
def mae_st_test(**overrides: Any) -> MAEST:
    """The smallest model with every mechanism in it, for tests."""
    small = {"clip_size": (8, 16, 16), "tubelet": (2, 4, 4), "embed_dim": 32, "depth": 2, "num_heads": 2}
    small |= {"predicted_frames": 4, "decoder_dim": 24, "decoder_depth": 2, "decoder_num_heads": 2}
    return MAEST(**{**small, **overrides})
