"""data2vec 2.0 on images, see ``data2vec2.py``.

    image [B, 3, 224, 224] --patches of 16 x 16--> 196 tokens, fixed sine-cosine positions added
    16 masks of every image: 5 blocks of 3 x 3 patches are kept, 39 patches in all, 157 (80 %) hidden
    extra token (no position) + 39 visible ones --LayerNorm, 12 post-norm blocks--> latents
    14 x 14 latents and noise --6 grouped convolutions--> features of the hidden patches --linear--> width 768
    y: instance norm of the teacher's last 10 MLP outputs, their mean, LayerNorm; extra token: mean of y, weight 0.01

The teacher averages the patch embedding too. Official files count the first two blocks of the base model as the image's
own; they are the first two of the encoder here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from mae3d.models.backbones import ViT
from mae3d.models.decoders import ConvDecoder
from mae3d.models.layers import GridPositions
from mae3d.models.losses import SummedRegression
from mae3d.models.masking import MultiBlockMasking
from mae3d.models.methods.data2vec2 import Data2Vec2
from mae3d.models.methods.mae import grid_size
from mae3d.models.methods.masked_autoencoder import Pooling
from mae3d.models.targets import LayerAverage
from mae3d.models.tokenizers import PatchTokenizer
from mae3d.registry import MODELS


def encoder_parts(
    *,
    image_size: int | Sequence[int] = 224,
    patch_size: int = 16,
    in_channels: int = 3,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    drop_path: float = 0.0,
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer, position embedding and encoder, as pre-training and every downstream network use them."""
    encoder = ViT(
        embed_dim,
        depth,
        num_heads,
        norm="post",
        final_norm=False,
        input_norm=True,
        drop_path=drop_path,
        class_token=True,
        class_position=False,
        gradient_checkpointing=gradient_checkpointing,
    )
    nn.init.normal_(encoder.class_token)
    return {
        "tokenizer": PatchTokenizer(patch_size, embed_dim, in_channels, initialization="xavier_uniform"),
        "position_embedding": GridPositions(embed_dim, grid_size(image_size, patch_size), "sincos"),
        "encoder": encoder,
    }


@MODELS.register_module()
class Data2Vec2Image(Data2Vec2):
    """Images, with the base model's hyper-parameters as defaults.

    Args:
        image_size: Side of the image in pixels, or (rows, columns).
        patch_size: Side of a patch.
        in_channels: Channels of the image.
        embed_dim: Width of the encoder C.
        depth: Its blocks, the image's own among them.
        num_heads: Its attention heads.
        decoder_dim: Width of the decoder.
        decoder_depth: Its convolutions.
        decoder_kernel: Their width in patches.
        decoder_groups: Groups of each.
        mask_noise: Standard deviation of the noise at hidden tokens.
        mask_ratio: Share of hidden patches; int(N (1 - ratio)) stay visible.
        mask_size: Side of a kept block in patches.
        mask_adjust: See :class:`MultiBlockMasking`.
        masks_per_sample: Masks M of every image.
        target_layers: Last blocks of the teacher that are averaged, K.
        loss_scale: See :class:`SummedRegression`.
        loss_beta: Likewise.
        class_loss_weight: See :class:`Data2Vec2`.
        class_loss_reduction: Likewise.
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
        image_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        decoder_dim: int = 768,
        decoder_depth: int = 6,
        decoder_kernel: int = 3,
        decoder_groups: int = 16,
        mask_noise: float = 0.01,
        mask_ratio: float = 0.8,
        mask_size: int = 3,
        mask_adjust: float = 0.07,
        masks_per_sample: int = 16,
        target_layers: int = 10,
        loss_scale: float | None = None,
        loss_beta: float = 0.0,
        class_loss_weight: float = 0.01,
        class_loss_reduction: Literal["sum", "mean"] = "sum",
        ema_decay: float = 0.9998,
        ema_end_decay: float = 0.99999,
        ema_anneal_steps: int = 100_000,
        pooling: Pooling = "mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        grid = grid_size(image_size, patch_size)
        super().__init__(
            **encoder_parts(
                image_size=image_size,
                patch_size=patch_size,
                in_channels=in_channels,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=MultiBlockMasking(mask_ratio, mask_size, mask_adjust, inverse=True),
            decoder=ConvDecoder(
                decoder_dim,
                decoder_depth,
                decoder_kernel,
                decoder_groups,
                input_dim=embed_dim,
                grid=grid,
                noise=mask_noise,
            ),
            target=LayerAverage(embed_dim, target_layers, "instance", "layer"),
            projection=nn.Linear(decoder_dim, embed_dim),
            teacher={"decay": ema_decay, "end_decay": ema_end_decay, "anneal_steps": ema_anneal_steps},
            masks_per_sample=masks_per_sample,
            loss=SummedRegression(loss_scale, loss_beta),
            class_loss_weight=class_loss_weight,
            class_loss_reduction=class_loss_reduction,
            modality="image",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.tokens_per_sample = grid[0] * grid[1]


LARGE: dict[str, Any] = {
    "embed_dim": 1024,
    "depth": 24,
    "num_heads": 16,
    "decoder_dim": 1024,
    "decoder_depth": 3,
    "decoder_kernel": 5,
    "mask_ratio": 0.75,
    "mask_adjust": 0.1,
    "target_layers": 18,
    "ema_anneal_steps": 150_000,
}


@MODELS.register_module()
def data2vec2_image_base(**overrides: Any) -> Data2Vec2Image:
    """ViT-B/16: 10 + 2 blocks, 88.4 M parameters of which the teacher's are not counted."""
    return Data2Vec2Image(**overrides)


@MODELS.register_module()
def data2vec2_image_large(**overrides: Any) -> Data2Vec2Image:
    """ViT-L/16."""
    return Data2Vec2Image(**{**LARGE, **overrides})


@MODELS.register_module()
def data2vec2_image_huge(**overrides: Any) -> Data2Vec2Image:
    """ViT-H/14; its decoder stays 1024 wide, and its teacher stands still after 300 k updates."""
    huge = {"patch_size": 14, "embed_dim": 1280, "depth": 32, "target_layers": 24}
    ema = {"ema_end_decay": 1.0, "ema_anneal_steps": 300_000}
    return Data2Vec2Image(**{**LARGE, **huge, **ema, **overrides})


@MODELS.register_module()
def data2vec2_image_tiny(**overrides: Any) -> Data2Vec2Image:
    """Width 128, 4 blocks on images of 64 pixels in patches of 8: trains on a CPU."""
    small = {"image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4, "target_layers": 3}
    decoder = {"decoder_dim": 64, "decoder_depth": 3, "decoder_groups": 4, "masks_per_sample": 4}
    ema = {"ema_decay": 0.99, "ema_end_decay": 0.999, "ema_anneal_steps": 500}
    return Data2Vec2Image(**{**small, **decoder, **ema, "class_loss_weight": 0.01, **overrides})


@MODELS.register_module()
def data2vec2_image_test(**overrides: Any) -> Data2Vec2Image:
    """The smallest model with every mechanism in it, without noise so that a pass can be replayed."""
    small = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "target_layers": 2}
    decoder = {"decoder_dim": 32, "decoder_depth": 2, "decoder_groups": 4, "mask_noise": 0.0}
    masks = {"masks_per_sample": 2, "mask_size": 2, "mask_ratio": 0.6}
    return Data2Vec2Image(**{**small, **decoder, **masks, **overrides})
