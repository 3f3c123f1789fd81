"""Audio-MAE: Masked Autoencoders that Listen (Huang et al., NeurIPS 2022, arXiv 2207.06405).

    spectrogram [B, 1, 1024, 128] (time, mel bins) --patches of 16 x 16--> 64 x 8 = 512 tokens, time-major
    410 of them (80 %) hidden at random; class token + 102 visible ones, fixed positions --12 blocks--> latents
    latents --linear--> width 512, the class token dropped; mask tokens in the gaps of the 64 x 8 grid
    --16 blocks of attention in windows of 4 x 4, shifted by 2 along time in every second one--> features
    one linear layer --> 256 log energies of each hidden patch, normalised and compared as in MAE

Differs from MAE in: one channel and a long grid; the decoder, whose blocks are those of SwinV2-CR (``decoder="global"``
is MAE's); time and frequency masking as an option. Padding with silence is predicted like everything else.

Official code followed: the position table is computed for 8 x 64 cells while tokens lie on 64 x 8, so token i has the
position (i mod 64, i // 64): a unique code, but not (time, frequency). Files hold that table, and
``positions="published"`` makes it; ``"grid"`` makes the one of the true grid. The network that makes the decoder's
position bias has dropout, so training is random beyond the mask. The official structured pre-training masks have class
defaults of 0.6 and 0.5 and command-line defaults of 0.7 and 0.3; the latter are taken.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from mae3d.errors import ConfigError
from mae3d.models.backbones import ViT, WindowTransformer
from mae3d.models.decoders import AppendDecoder, InPlaceDecoder
from mae3d.models.layers import GridPositions, initialize
from mae3d.models.losses import SquaredError
from mae3d.models.masking import RandomMasking, TimeFrequencyMasking
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, Pooling
from mae3d.models.targets import SpectrogramTarget
from mae3d.models.tokenizers import PatchTokenizer
from mae3d.registry import MODELS

PositionCode = Literal["published", "grid"]


def token_grid(frames: int, bins: int, patch_size: int) -> tuple[int, int]:
    """Tokens along time and frequency."""
    if frames % patch_size or bins % patch_size:
        raise ConfigError(f"frames and bins must be multiples of the patch of {patch_size}, got {frames} and {bins}")
    return frames // patch_size, bins // patch_size


def position_table(dim: int, grid: tuple[int, int], positions: PositionCode, *, trainable: bool = False) -> nn.Module:
    """The fixed table; a stored one of a longer sound is cut, see :class:`GridPositions`."""
    if positions not in ("published", "grid"):
        raise ConfigError(f'AudioMAE: positions must be "published" or "grid", got {positions!r}')
    raster = grid[::-1] if positions == "published" else grid
    return GridPositions(dim, grid, "sincos", trainable=trainable, raster=raster)


def encoder_parts(
    *,
    frames: int = 1024,
    bins: int = 128,
    patch_size: int = 16,
    embed_dim: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    drop_path: float = 0.0,
    final_norm: bool = True,
    positions: PositionCode = "published",
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer, position embedding and encoder, as pre-training and every downstream network use them."""
    return {
        "tokenizer": PatchTokenizer(patch_size, embed_dim, 1, initialization="xavier_uniform"),
        "position_embedding": position_table(embed_dim, token_grid(frames, bins, patch_size), positions),
        "encoder": ViT(
            embed_dim,
            depth,
            num_heads,
            drop_path=drop_path,
            final_norm=final_norm,
            class_token=True,
            class_position="fixed",
            initialization="xavier_uniform",
            gradient_checkpointing=gradient_checkpointing,
        ),
    }


@MODELS.register_module()
class AudioMAE(MaskedAutoencoder):
    """Audio-MAE with ViT-B and the published hyper-parameters as defaults.

    Args:
        frames: Frames of a spectrogram.
        bins: Mel bins.
        patch_size: Side of a patch.
        embed_dim: Width of the encoder.
        depth: Encoder blocks.
        num_heads: Encoder attention heads.
        decoder: "windows", the published recipe ("mode 1"), or "global", MAE's decoder ("mode 0").
        decoder_dim: Width of the decoder.
        decoder_depth: Decoder blocks; None: 16 with windows, 8 without, as published.
        decoder_num_heads: Decoder attention heads.
        window: Tokens of a window along time and frequency.
        shift: What windows are shifted by in every second block; (0, 0) never shifts.
        mask_ratio: Share of hidden tokens in random masking; int(N * (1 - ratio)) stay visible.
        masking: "random", or "time_frequency", whole stretches of time and whole bands.
        time_ratio: Share of hidden time steps in that masking.
        frequency_ratio: Share of hidden bands.
        norm_pix: Predict energies normalised by their patch's mean and variance.
        positions: "published" or "grid", see the module.
        pooling: Of :meth:`extract_features`.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    def __init__(
        self,
        *,
        frames: int = 1024,
        bins: int = 128,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        decoder: Literal["windows", "global"] = "windows",
        decoder_dim: int = 512,
        decoder_depth: int | None = None,
        decoder_num_heads: int = 16,
        window: tuple[int, int] = (4, 4),
        shift: tuple[int, int] = (2, 0),
        mask_ratio: float = 0.8,
        masking: Literal["random", "time_frequency"] = "random",
        time_ratio: float = 0.7,
        frequency_ratio: float = 0.3,
        norm_pix: bool = True,
        positions: PositionCode = "published",
        pooling: Pooling = "mean",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if decoder not in ("windows", "global") or masking not in ("random", "time_frequency"):
            raise ConfigError(
                'AudioMAE: decoder must be "windows" or "global" and masking "random" or "time_frequency", got '
                f"{decoder!r} and {masking!r}"
            )
        grid = token_grid(frames, bins, patch_size)
        shared = {
            "position_embedding": position_table(decoder_dim, grid, positions),
            "input_dim": embed_dim,
        }
        if decoder == "windows":
            transformer = WindowTransformer(
                decoder_dim,
                16 if decoder_depth is None else decoder_depth,
                decoder_num_heads,
                grid=grid,
                window=window,
                shift=shift,
                gradient_checkpointing=gradient_checkpointing,
            )
            decoding = InPlaceDecoder(decoder_dim, **shared, transformer=transformer)
        else:
            decoding = AppendDecoder(
                decoder_dim,
                8 if decoder_depth is None else decoder_depth,
                decoder_num_heads,
                **shared,
                class_token="keep",
                class_position="fixed",
                gradient_checkpointing=gradient_checkpointing,
            )
        random = RandomMasking(mask_ratio, exact="visible")
        super().__init__(
            **encoder_parts(
                frames=frames,
                bins=bins,
                patch_size=patch_size,
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                positions=positions,
                gradient_checkpointing=gradient_checkpointing,
            ),
            masking=random if masking == "random" else TimeFrequencyMasking(time_ratio, frequency_ratio),
            decoder=decoding,
            target=SpectrogramTarget((patch_size, patch_size), "joint" if norm_pix else "none"),
            loss=SquaredError(),
            modality="spectrogram",
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        initialize(self.prediction, "xavier_uniform")
        self.tokens_per_sample = grid[0] * grid[1]


@MODELS.register_module()
def audio_mae_small(**overrides: Any) -> AudioMAE:
    """ViT-S."""
    return AudioMAE(**{"embed_dim": 384, "num_heads": 6, **overrides})


@MODELS.register_module()
def audio_mae_base(**overrides: Any) -> AudioMAE:
    """ViT-B: 136,992,256 numbers, tables included; an official file has 512 more, the row of a token it drops."""
    return AudioMAE(**overrides)


@MODELS.register_module()
def audio_mae_large(**overrides: Any) -> AudioMAE:
    """ViT-L."""
    return AudioMAE(**{"embed_dim": 1024, "depth": 24, "num_heads": 16, **overrides})


@MODELS.register_module()
def audio_mae_tiny(**overrides: Any) -> AudioMAE:
    """Width 128, 4 + 4 blocks on 64 frames of 64 mel bins in patches of 8: trains on a CPU."""
    small = {"frames": 64, "bins": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return AudioMAE(**{**small, "decoder_dim": 64, "decoder_depth": 4, "decoder_num_heads": 4, **overrides})


@MODELS.register_module()
def audio_mae_test(**overrides: Any) -> AudioMAE:
    """The smallest model with every mechanism in it, for tests."""
    small = {"frames": 64, "bins": 32, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}
    return AudioMAE(**{**small, "decoder_dim": 24, "decoder_depth": 3, "decoder_num_heads": 3, **overrides})
