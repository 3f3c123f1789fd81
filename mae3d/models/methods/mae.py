"""MAE: Masked Autoencoders Are Scalable Vision Learners (He et al., CVPR 2022, arXiv 2111.06377).

    image [B, 3, 224, 224] --patches of 16 x 16--> 196 tokens, fixed sine-cosine positions added
    147 of them (75 %) hidden at random; class token + 49 visible ones --12 blocks--> latents
    latents --linear--> width 512; class token, visible and mask tokens with their own positions --8 blocks--> features
    one linear layer --> the 768 values of each hidden patch
    compared with the patch's values, normalised by their own mean and variance, by the squared error

The parent of most systems here. The official encoder sees its tokens shuffled and the decoder puts them back; attention
does not see the order, so tokens stay in raster order, the decoder works on [class | visible | masked], and only hidden
patches are normalised and predicted. Given the same weights and mask the loss is the same.

The paper and the released weights use normalised pixels; the official flag's default does not (``norm_pix=False``).
Predictions of normalised pixels are shown with the brightness and contrast of the true patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mae3d.models.backbones import ViT
from mae3d.models.decoders import AppendDecoder
from mae3d.models.layers import GridPositions, initialize
from mae3d.models.losses import SquaredError
from mae3d.models.masking import RandomMasking
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, Pooling
from mae3d.models.targets import PixelTarget
from mae3d.models.tokenizers import PatchTokenizer
from mae3d.registry import MODELS
from mae3d.structures.colors import IMAGENET_MEAN, IMAGENET_STD


def grid_size(image_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Patches along rows and columns."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height // patch_size, width // patch_size


def encoder_parts(
    *,
    image_size: int | Sequence[int] = 224,
    patch_size: int = 16,
    in_channels: int = 3,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    drop_path: float = 0.0,
    final_norm: bool = True,
    trainable_positions: bool = False,
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer, position embedding and encoder, as pre-training and every downstream network use them."""
    return {
        "tokenizer": PatchTokenizer(patch_size, embed_dim, in_channels, initialization="xavier_uniform"),
        "position_embedding": GridPositions(
            embed_dim, grid_size(image_size, patch_size), "sincos", trainable=trainable_positions
        ),
        "encoder": ViT(
            embed_dim,
            depth,
            num_heads,
            drop_path=drop_path,
            final_norm=final_norm,
            class_token=True,
            class_position=True if trainable_positions else "fixed",
            initialization="xavier_uniform",
            gradient_checkpointing=gradient_checkpointing,
        ),
    }


@MODELS.register_module()
class MAE(MaskedAutoencoder):
    """MAE with ViT-B/16 and the paper's hyper-parameters as defaults.

    Args:
        image_size: Side of the image in pixels, or (rows, columns).
        patch_size: Side of a patch.
        in_channels: Channels of the image.
        embed_dim: Width of the encoder.
        depth: Encoder blocks.
        num_heads: Encoder attention heads.
        decoder_dim: Width of the decoder.
        decoder_depth: Decoder blocks.
        decoder_num_heads: Decoder attention heads.
        mask_ratio: Share of hidden patches; int(N * (1 - ratio)) stay visible.
        norm_pix: Predict pixels normalised by their patch's mean and variance.
        mean: Of the input's normalisation, used for pictures only.
        std: Likewise.
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
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        mean: float | Sequence[float] = IMAGENET_MEAN,
        std: float | Sequence[float] = IMAGENET_STD,
        pooling: Pooling = "class",
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
            masking=RandomMasking(mask_ratio, exact="visible"),
            decoder=AppendDecoder(
                decoder_dim,
                decoder_depth,
                decoder_num_heads,
                position_embedding=GridPositions(decoder_dim, grid, "sincos"),
                input_dim=embed_dim,
                class_token="keep",
                class_position="fixed",
                gradient_checkpointing=gradient_checkpointing,
            ),
            target=PixelTarget(
                (patch_size, patch_size), in_channels, "joint" if norm_pix else "none", mean=mean, std=std
            ),
            loss=SquaredError(),
            modality="image",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        initialize(self.prediction, "xavier_uniform")
        self.tokens_per_sample = grid[0] * grid[1]


@MODELS.register_module()
def mae_base(**overrides: Any) -> MAE:
    """ViT-B/16: 111.9 M numbers, of which 111.66 M learn."""
    return MAE(**overrides)


@MODELS.register_module()
def mae_large(**overrides: Any) -> MAE:
    """ViT-L/16."""
    return MAE(**{"embed_dim": 1024, "depth": 24, "num_heads": 16, **overrides})


@MODELS.register_module()
def mae_huge(**overrides: Any) -> MAE:
    """ViT-H/14."""
    return MAE(**{"patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16, **overrides})


@MODELS.register_module()
def mae_tiny(**overrides: Any) -> MAE:
    """Width 128, 4 + 2 blocks on images of 64 pixels in patches of 8: trains on a CPU."""
    small = {"image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return MAE(**{**small, "decoder_dim": 64, "decoder_depth": 2, "decoder_num_heads": 4, **overrides})


@MODELS.register_module()
def mae_test(**overrides: Any) -> MAE:
    """The smallest model with every mechanism in it, for tests."""
    small = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
    return MAE(**{**small, "decoder_dim": 24, "decoder_depth": 2, "decoder_num_heads": 2, **overrides})
