"""Point-MAE: Masked Autoencoders for Point Cloud Self-supervised Learning (Pang et al., ECCV 2022, arXiv 2203.06604).

    cloud [B, 1024, 3] --FPS + kNN--> 64 patches of 32 points, relative to their centres
    patches --mini-PointNet--> tokens [B, 64, 384]; 38 of them (60 %) hidden at random
    26 visible tokens, centre positions added before every block --12 blocks--> latents
    [latents | mask tokens] with their own centre positions --4 blocks--> features of the hidden tokens
    one linear layer --> 32 points per hidden patch, compared by squared Chamfer distance

Differs from the image MAE in: tokens made by a small PointNet before masking (so BatchNorm statistics see hidden
patches too), positions from a learned MLP on patch centres and added before every block, attention without qkv bias,
a decoder that appends mask tokens instead of un-shuffling, and a set distance as the loss.

The official code is followed where the paper is silent: furthest point sampling starts at point 0 and never picks
points within sqrt(1e-3) of the origin (``skip_near_origin=None`` lifts that), and ``drop_path`` also applies to the
decoder. Deviation: masks come from torch's generator, not from numpy's global one, so masks drawn from one seed
differ from the official ones; inject a ``mask`` to compare.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from mae3d.errors import ConfigError
from mae3d.models.backbones import ViT
from mae3d.models.decoders import AppendDecoder
from mae3d.models.layers import CoordinateMlp, initialize
from mae3d.models.losses import ChamferLoss
from mae3d.models.masking import BlockMasking, RandomMasking
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, Pooling
from mae3d.models.targets import PointPatchTarget
from mae3d.models.tokenizers import PointPatchTokenizer
from mae3d.models.tokenizers.point_patches import PatchContent
from mae3d.registry import MODELS

MASKINGS: dict[str, type[nn.Module]] = {"random": RandomMasking, "block": BlockMasking}

BLOCK_OPTIONS: dict[str, Any] = {"qkv_bias": "none", "position": "every_block", "norm_eps": 1e-5}
"""What the family's transformers have in common and other ViTs do not."""


def encoder_parts(
    *,
    num_groups: int = 64,
    group_size: int = 32,
    embed_dim: int = 384,
    depth: int = 12,
    num_heads: int = 6,
    drop_path: float = 0.1,
    skip_near_origin: float | None = 1e-3,
    gradient_checkpointing: bool = False,
    class_token: bool = False,
    patch_dim: int | None = None,
    content: PatchContent = "relative",
    encoder: nn.Module | dict | None = None,
) -> dict[str, nn.Module | dict]:
    """Tokenizer, position embedding and encoder (another one if given) of pre-training and every downstream network."""
    position_embedding = CoordinateMlp(embed_dim)
    initialize(position_embedding, "trunc_normal")
    tokenizer = PointPatchTokenizer(
        num_groups,
        group_size,
        embed_dim,
        content=content,
        skip_near_origin=skip_near_origin,
        patch_dim=patch_dim,
    )
    if encoder is None:
        encoder = ViT(
            embed_dim,
            depth,
            num_heads,
            drop_path=drop_path,
            class_token=class_token,
            gradient_checkpointing=gradient_checkpointing,
            **BLOCK_OPTIONS,
        )
    return {"tokenizer": tokenizer, "position_embedding": position_embedding, "encoder": encoder}


def point_decoder(
    embed_dim: int, depth: int, num_heads: int, *, drop_path: float, gradient_checkpointing: bool
) -> AppendDecoder:
    """Decoder with a position embedding of its own, as every pre-training of the family has it."""
    return AppendDecoder(
        embed_dim,
        depth,
        num_heads,
        position_embedding=CoordinateMlp(embed_dim),
        drop_path=drop_path,
        gradient_checkpointing=gradient_checkpointing,
        **BLOCK_OPTIONS,
    )


@MODELS.register_module()
class PointMAE(MaskedAutoencoder):
    """Point-MAE with the paper's hyper-parameters as defaults.

    Args:
        num_groups: Patches per cloud G.
        group_size: Points per patch K.
        mask_ratio: Share of hidden patches; int(ratio * G) are hidden.
        masking: "random", or "block": one patch and its nearest ones.
        embed_dim: Width C of encoder and decoder.
        depth: Encoder blocks.
        num_heads: Encoder attention heads.
        decoder_depth: Decoder blocks.
        decoder_num_heads: Decoder attention heads.
        drop_path: Rate at the last block of encoder and decoder, rising linearly from 0.
        loss: "cdl2" or "cdl1", see :class:`ChamferLoss`.
        skip_near_origin: See :func:`mae3d.models.tokenizers.cut_patches`.
        pooling: Of :meth:`extract_features`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    def __init__(
        self,
        *,
        num_groups: int = 64,
        group_size: int = 32,
        mask_ratio: float = 0.6,
        masking: Literal["random", "block"] = "random",
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        decoder_depth: int = 4,
        decoder_num_heads: int = 6,
        drop_path: float = 0.1,
        loss: Literal["cdl1", "cdl2"] = "cdl2",
        skip_near_origin: float | None = 1e-3,
        pooling: Pooling = "max_mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if masking not in MASKINGS:
            raise ConfigError(f"PointMAE: masking must be one of {sorted(MASKINGS)}, got {masking!r}")
        decoder = point_decoder(
            embed_dim,
            decoder_depth,
            decoder_num_heads,
            drop_path=drop_path,
            gradient_checkpointing=gradient_checkpointing,
        )
        super().__init__(
            **encoder_parts(
                num_groups=num_groups,
                group_size=group_size,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                drop_path=drop_path,
                skip_near_origin=skip_near_origin,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=MASKINGS[masking](mask_ratio),
            decoder=decoder,
            target=PointPatchTarget(group_size),
            loss=ChamferLoss(loss),
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )


TINY = {"num_groups": 32, "group_size": 16, "embed_dim": 192, "depth": 6, "num_heads": 3}
TINY |= {"decoder_depth": 2, "decoder_num_heads": 3}
TEST = {"num_groups": 16, "group_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
TEST |= {"decoder_depth": 2, "decoder_num_heads": 2}


@MODELS.register_module()
def point_mae_base(**overrides: Any) -> PointMAE:
    """The published model: 29.0 M parameters."""
    return PointMAE(**overrides)


@MODELS.register_module()
def point_mae_tiny(**overrides: Any) -> PointMAE:
    """Width 192 and 6 + 2 blocks over 32 patches of 16 points: trains on a CPU."""
    return PointMAE(**{**TINY, **overrides})


@MODELS.register_module()
def point_mae_test(**overrides: Any) -> PointMAE:
    """The smallest model with every mechanism in it, for tests."""
    return PointMAE(**{**TEST, **overrides})
