"""The values inside masked patches as the thing to predict: pixels, or the energies of a spectrogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.tokenizers.patches import unpatchify
from mae3d.registry import MODELS
from mae3d.structures import Mask, PixelReconstruction, Tokens
from mae3d.structures.colors import IMAGENET_MEAN, IMAGENET_STD

Normalization = Literal["none", "joint", "channel"]


@MODELS.register_module()
class PixelTarget(nn.Module):
    """Values of each masked patch, normalised by the patch's own statistics.

    Args:
        patch_size: Side of a patch along every axis.
        channels: Channels of the input.
        normalize: "none"; "joint": (v - mean) / sqrt(variance + 1e-6) over all values of a patch (MAE); "channel":
            (v - mean) / (sqrt(variance) + 1e-6) over the patch for each channel (VideoMAE). Variances are unbiased.
        mean: Of the input's own normalisation, per channel or one number, undone for pictures and where ``raw``.
        std: Likewise.
        raw: Undo the input's normalisation before that of the patch, as VideoMAE does.
    """

    def __init__(
        self,
        patch_size: Sequence[int] = (16, 16),
        channels: int = 3,
        normalize: Normalization = "joint",
        *,
        mean: float | Sequence[float] = IMAGENET_MEAN,
        std: float | Sequence[float] = IMAGENET_STD,
        raw: bool = False,
    ) -> None:
        super().__init__()
        if normalize not in ("none", "joint", "channel"):
            raise ConfigError(f'PixelTarget: normalize must be "none", "joint" or "channel", got {normalize!r}')
        self.patch_size = tuple(patch_size)
        self.channels = channels
        self.normalize = normalize
        self.raw = raw
        for name, value in (("mean", mean), ("std", std)):
            numbers = torch.tensor(value, dtype=torch.float32)
            if numbers.numel() not in (1, channels):
                raise ConfigError(f"{type(self).__name__}: {name} of {channels} channels, got {value}; give one number")
            self.register_buffer(name, numbers.expand(channels).clone(), False)

    @property
    def picture_patch(self) -> tuple[int, ...]:
        """Side of the patch that one prediction covers."""
        return self.patch_size

    @property
    def dim(self) -> int:
        """Numbers that a prediction head gives per token."""
        return self.channels * torch.Size(self.picture_patch).numel()

    def shape(self, prediction: Tensor) -> Tensor:
        """Output of the head as it is, [B, M, dim]."""
        return prediction

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Target [B, M, dim], float32."""
        values = self.content(mask.gather_masked(tokens.content), mask.gather_masked(tokens.coordinates))
        center, spread = self.statistics(values)
        return ((values - center) / spread).flatten(2)

    def content(self, patches: Tensor, coordinates: Tensor) -> Tensor:
        """Patches [B, M, dim] -> float32 [B, M, pixels, channels], without the input's normalisation if ``raw``."""
        values = patches.float().unflatten(-1, (-1, self.channels))
        return values * self.std + self.mean if self.raw else values

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What is subtracted from values [B, M, pixels, channels] and what they are divided by."""
        if self.normalize == "none":
            return values.new_zeros(()), values.new_ones(())
        axes = (-2, -1) if self.normalize == "joint" else (-2,)
        variance, center = torch.var_mean(values, dim=axes, keepdim=True)
        spread = (variance + 1e-6).sqrt() if self.normalize == "joint" else variance.sqrt() + 1e-6
        return center, spread

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, prediction: Tensor, tokens: Tokens, mask: Mask) -> PixelReconstruction:
        """Pictures in [0, 1]: a prediction gets back the mean and spread of the patch it stands for.

        Where targets are normalised, the network predicts a patch up to brightness and contrast; taking these from the
        true patch shows what was learned, and showing the numbers themselves would not.
        """
        every = self.content(tokens.content, tokens.coordinates)  # [B, N, pixels, channels]
        center, spread = self.statistics(mask.gather_masked(every))
        predicted = prediction.float().unflatten(-1, (-1, self.channels)) * spread + center
        grey = torch.full_like(predicted, 0.5) if self.raw else ((0.5 - self.mean) / self.std).expand_as(predicted)
        visible = mask.gather_visible(every)

        def picture(patches: Tensor) -> Tensor:
            shown = patches if self.raw else patches * self.std + self.mean
            return unpatchify(shown.flatten(2), tokens.grid, self.picture_patch).clamp(0, 1)

        return PixelReconstruction(
            picture(every), picture(mask.restore(visible, grey)), picture(mask.restore(visible, predicted))
        )


@MODELS.register_module()
class FrameTarget(PixelTarget):
    """As :class:`PixelTarget`, of some frames of a clip only (MAE-ST).

    The frames are ``linspace(0, frames - 1, predicted)`` rounded down: of 16 frames the 8 are 0, 2, 4, 6, 8, 10, 12
    and 15. Each time slot of tokens predicts its share of them.

    Args:
        patch_size: (frames, rows, columns) of a tubelet.
        frames: Frames of a clip T.
        predicted: Frames that are predicted, a multiple of the number of time slots.
        **options: See :class:`PixelTarget`.
    """

    def __init__(
        self, patch_size: Sequence[int] = (2, 16, 16), frames: int = 16, predicted: int = 8, **options
    ) -> None:
        super().__init__(patch_size, **options)
        depth = self.patch_size[0]
        slots = frames // depth
        chosen = [index * (frames - 1) // max(1, predicted - 1) for index in range(predicted)]
        if predicted % slots:
            raise ConfigError(f"FrameTarget: predicted={predicted} must be a multiple of the {slots} time slots")
        share = predicted // slots
        within = [frame - index // share * depth for index, frame in enumerate(chosen)]
        if min(within) < 0 or max(within) >= depth:
            raise ConfigError(f"FrameTarget: frames {chosen} do not lie in the time slots that predict them")
        self.register_buffer("frames", torch.tensor(within).view(slots, share), False)

    @property
    def picture_patch(self) -> tuple[int, ...]:
        """Predicted frames of a time slot, rows, columns."""
        return (self.frames.shape[1], *self.patch_size[1:])

    def content(self, patches: Tensor, coordinates: Tensor) -> Tensor:
        """Patches [B, M, P] -> [B, M, pixels of the chosen frames, channels]."""
        values = super().content(patches, coordinates).unflatten(2, (self.patch_size[0], -1))
        chosen = self.frames[coordinates[..., 0].long()]  # [B, M, frames of a slot]
        index = chosen[..., None, None].expand(*chosen.shape, *values.shape[3:])
        return values.gather(2, index).flatten(2, 3)
