"""Waveforms to tokens by strided convolutions (wav2vec 2.0, arXiv 2006.11477)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError
from mae3d.registry import MODELS
from mae3d.structures import Tokens

WAV2VEC_LAYERS = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
"""(channels, width, stride) of each convolution: a token every 320 samples, 20 ms at 16 kHz, from 400 samples."""


class WaveformLayer(nn.Module):
    """Convolution without bias, LayerNorm over the channels, GELU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(in_channels, out_channels, kernel, stride, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, samples] -> [B, out, fewer]."""
        return nn.functional.gelu(self.norm(self.convolution(x).transpose(1, 2)).transpose(1, 2))


@MODELS.register_module()
class WaveformTokenizer(nn.Module):
    """Convolutions over the waveform, then LayerNorm and a linear layer to the encoder's width.

    Args:
        embed_dim: Width C of the tokens.
        layers: (channels, width, stride) of each convolution.
    """

    def __init__(self, embed_dim: int = 768, layers: Sequence[Sequence[int]] = WAV2VEC_LAYERS) -> None:
        super().__init__()
        if not layers or any(len(layer) != 3 for layer in layers):
            raise ConfigError(f"WaveformTokenizer: layers must be (channels, width, stride) each, got {layers}")
        self.embed_dim = embed_dim
        widths = [1, *(channels for channels, _, _ in layers)]
        self.layers = nn.ModuleList(WaveformLayer(inputs, *layer) for inputs, layer in zip(widths, layers))
        self.norm = nn.LayerNorm(widths[-1])
        self.projection = nn.Linear(widths[-1], embed_dim)

    def num_tokens(self, samples: int) -> int:
        """Tokens N of a waveform."""
        for layer in self.layers:
            (kernel,), (stride,) = layer.convolution.kernel_size, layer.convolution.stride
            samples = (samples - kernel) // stride + 1
        return samples

    def forward(self, waveform: Tensor) -> Tokens:
        """Embed [B, samples].

        Returns:
            Tokens with ``features`` [B, N, C], ``content`` the same, ``coordinates`` [B, N, 1] their numbers.

        Raises:
            DataError: Another shape, or too few samples for one token.
        """
        if waveform.dim() != 2 or self.num_tokens(waveform.shape[1]) < 1:
            raise DataError(
                "WaveformTokenizer takes waveforms [B, samples] that are long enough for a token, got "
                f"{list(waveform.shape)}; a longer crop is needed (samples of the data set)"
            )
        x = waveform.unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        features = self.projection(self.norm(x.transpose(1, 2)))
        count = features.shape[1]
        places = torch.arange(count, dtype=torch.float32, device=waveform.device).view(1, -1, 1)
        return Tokens(features, places.expand(len(waveform), -1, -1), features, grid=(count,))
