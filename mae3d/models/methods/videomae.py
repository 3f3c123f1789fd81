"""VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training (Tong et al.,
NeurIPS 2022, arXiv 2203.12602).

    clip [B, 3, 16, 224, 224] --tubelets of 2 x 16 x 16--> 1568 tokens, fixed sinusoid of the running index added
    one mask of 14 x 14 places, the same in all 8 time slots, hides 1408 tokens (90 %)
    160 visible tokens --12 blocks--> latents --linear without bias--> width 384
    [latents | mask tokens] with their positions --4 blocks--> features of the hidden tokens
    one linear layer --> 1536 values per hidden tubelet, compared by the squared error

Differs from MAE in: tubes; no class token; query and value biases but no key bias; positions that are in no file; the
target, which is made of un-normalised pixels, each channel of a tubelet by its own mean and deviation, the 1e-6 added
outside the root.

As officially, the linear layer between encoder and decoder keeps torch's own initialisation, and mask tokens are drawn
from a normal cut at one deviation. Decoder depth is the command line's 4 (12 for L and H), not the class's 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mae3d.models.backbones import ViT
from mae3d.models.decoders import AppendDecoder
from mae3d.models.layers import GridPositions, initialize
from mae3d.models.losses import SquaredError
from mae3d.models.masking import SharedMasking
from mae3d.models.methods.mae_st import SMALL_CLIPS, clip_grid
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, Pooling
from mae3d.models.targets import PixelTarget
from mae3d.models.tokenizers import PatchTokenizer
from mae3d.registry import MODELS
from mae3d.structures.colors import IMAGENET_MEAN, IMAGENET_STD


def positions(dim: int, clip_size: Sequence[int], tubelet: Sequence[int]) -> GridPositions:
    """The fixed sinusoid over the row-major index of the tokens, in no state dict."""
    return GridPositions(dim, clip_grid(clip_size, tubelet), "sinusoid", stored=False)


def encoder_parts(
    *,
    clip_size: Sequence[int] = (16, 224, 224),
    tubelet: Sequence[int] = (2, 16, 16),
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    drop_path: float = 0.0,
    final_norm: bool = True,
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer, position embedding and encoder, as pre-training and every downstream network use them."""
    return {
        "tokenizer": PatchTokenizer(tubelet, embed_dim),
        "position_embedding": positions(embed_dim, clip_size, tubelet),
        "encoder": ViT(
            embed_dim,
            depth,
            num_heads,
            qkv_bias="q_v",
            drop_path=drop_path,
            final_norm=final_norm,
            initialization="xavier_uniform",
            gradient_checkpointing=gradient_checkpointing,
        ),
    }


@MODELS.register_module()
class VideoMAE(MaskedAutoencoder):
    """VideoMAE with ViT-B and the published hyper-parameters as defaults: 94.2 M parameters.

    Args:
        clip_size: (frames, rows, columns) of a clip.
        tubelet: (frames, rows, columns) of a token.
        embed_dim: Width of the encoder.
        depth: Encoder blocks.
        num_heads: Encoder attention heads.
        decoder_dim: Width of the decoder.
        decoder_depth: Decoder blocks.
        decoder_num_heads: Decoder attention heads.
        mask_ratio: Share of hidden places; int(ratio * places) are hidden in every time slot.
        normalize: Of the target, see :class:`PixelTarget`; "none" leaves pixels in [0, 1].
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
        decoder_dim: int = 384,
        decoder_depth: int = 4,
        decoder_num_heads: int = 6,
        mask_ratio: float = 0.9,
        normalize: str = "channel",
        pooling: Pooling = "mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            **encoder_parts(
                clip_size=clip_size,
                tubelet=tubelet,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=SharedMasking(mask_ratio),
            decoder=AppendDecoder(
                decoder_dim,
                decoder_depth,
                decoder_num_heads,
                position_embedding=positions(decoder_dim, clip_size, tubelet),
                input_dim=embed_dim,
                projection_bias=False,
                qkv_bias="q_v",
                gradient_checkpointing=gradient_checkpointing,
            ),
            target=PixelTarget(tubelet, normalize=normalize, mean=IMAGENET_MEAN, std=IMAGENET_STD, raw=True),
            loss=SquaredError(),
            modality="video",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.decoder.projection.reset_parameters()
        nn.init.trunc_normal_(self.decoder.mask_token, std=0.02, a=-0.02, b=0.02)
        initialize(self.prediction, "xavier_uniform")
        grid = clip_grid(clip_size, tubelet)
        self.tokens_per_sample = grid[0] * grid[1] * grid[2]


@MODELS.register_module()
def videomae_small(**overrides: Any) -> VideoMAE:
    """ViT-S."""
    small = {"embed_dim": 384, "num_heads": 6, "decoder_dim": 192, "decoder_num_heads": 3}
    return VideoMAE(**{**small, **overrides})


@MODELS.register_module()
def videomae_base(**overrides: Any) -> VideoMAE:
    """ViT-B: 94,210,944 parameters."""
    return VideoMAE(**overrides)


@MODELS.register_module()
def videomae_large(**overrides: Any) -> VideoMAE:
    """ViT-L."""
    large = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    return VideoMAE(**{**large, "decoder_dim": 512, "decoder_depth": 12, "decoder_num_heads": 8, **overrides})


@MODELS.register_module()
def videomae_huge(**overrides: Any) -> VideoMAE:
    """ViT-H."""
    huge = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
    return VideoMAE(**{**huge, "decoder_dim": 640, "decoder_depth": 12, "decoder_num_heads": 8, **overrides})


@MODELS.register_module()
def videomae_tiny(**overrides: Any) -> VideoMAE:
    """Width 128, 4 + 2 blocks on clips of 8 frames of 64 pixels: trains on a CPU."""
    small = {**SMALL_CLIPS, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return VideoMAE(**{**small, "decoder_dim": 64, "decoder_depth": 2, "decoder_num_heads": 4, **overrides})


@MODELS.register_module()
def videomae_test(**overrides: Any) -> VideoMAE:
    """The smallest model with every mechanism in it, for tests."""
    small = {"clip_size": (8, 16, 16), "tubelet": (2, 4, 4), "embed_dim": 32, "depth": 2, "num_heads": 2}
    small |= {"decoder_dim": 24, "decoder_depth": 2, "decoder_num_heads": 2}
    return VideoMAE(**{**small, **overrides})
