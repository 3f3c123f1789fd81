"""The Gaussian noising process: x_t = signal_t x_0 + noise_t e, and what a network may predict of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.diffusion.schedules import noise_schedule

Prediction = Literal["epsilon", "v"]


class Denoised(NamedTuple):
    """What a network's output says about a noisy sample; both of its shape."""

    clean: Tensor
    """Estimate of x_0."""
    noise: Tensor
    """Estimate of the noise e."""


class GaussianDiffusion(nn.Module):
    """Ho et al., Denoising Diffusion Probabilistic Models (arXiv 2006.11239); no parameters.

    Args:
        steps: T; times are 0 (least noise) .. T - 1.
        schedule: "linear", "warm0.1" or "cosine", see :func:`noise_schedule`.
        beta_start: First variance, None for the published one.
        beta_end: Last variance, None for the published one.
        prediction: What the network predicts: "epsilon", the noise, or "v", signal e - noise x_0 (Salimans and Ho,
            arXiv 2202.00512).
    """

    def __init__(
        self,
        steps: int = 1000,
        schedule: str = "linear",
        *,
        beta_start: float | None = None,
        beta_end: float | None = None,
        prediction: Prediction = "epsilon",
    ) -> None:
        super().__init__()
        if prediction not in ("epsilon", "v"):
            raise ConfigError(f'GaussianDiffusion: prediction must be "epsilon" or "v", got {prediction!r}')
        self.steps = steps
        self.schedule = schedule
        self.prediction = prediction
        betas = noise_schedule(schedule, steps, beta_start, beta_end)
        share = (1 - betas).cumprod(0)  # of the signal in the variance
        self.share = share.tolist()
        self.register_buffer("signal", share.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - share).sqrt().float(), persistent=False)

    def add_noise(self, clean: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """x_t of ``clean`` [B, ...] at ``times`` int64 [B]."""
        signal, sigma = self._at(times, clean)
        return signal * clean + sigma * noise

    def target(self, clean: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """What the network should predict."""
        if self.prediction == "epsilon":
            return noise
        signal, sigma = self._at(times, clean)
        return signal * noise - sigma * clean

    def interpret(self, output: Tensor, noisy: Tensor, time: int) -> Denoised:
        """Clean sample and noise that the network's ``output`` for ``noisy`` at ``time`` stands for."""
        share = self.share[time]
        signal, sigma = share**0.5, (1 - share) ** 0.5
        if self.prediction == "epsilon":
            return Denoised((noisy - sigma * output) / signal, output)
        return Denoised(signal * noisy - sigma * output, signal * output + sigma * noisy)

    def explain(self, noisy: Tensor, clean: Tensor, time: int) -> Denoised:
        """``clean``, and the noise with which ``noisy`` at ``time`` comes from it."""
        share = self.share[time]
        return Denoised(clean, (noisy - share**0.5 * clean) / (1 - share) ** 0.5)

    def share_at(self, time: int) -> float:
        """Share of the signal's variance at ``time``; 1 at -1, where nothing was added yet."""
        return 1.0 if time < 0 else self.share[time]

    def _at(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.dim() - 1))
        return self.signal[times].reshape(shape), self.noise[times].reshape(shape)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"steps={self.steps}, schedule={self.schedule!r}, prediction={self.prediction!r}"
