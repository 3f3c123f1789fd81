"""From noise to samples: ancestral sampling, DDIM, DPM-Solver++, guidance, and known parts held fixed.

Every sampler walks down a list of times t_0 > t_1 > ... and ends at the clean sample. With a = share of the signal's
variance, x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from mae3d.errors import ConfigError
from mae3d.models.diffusion.process import Denoised, GaussianDiffusion

Spacing = Literal["time", "log_ratio"]
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(noisy [B, ...], times int64 [B]) -> the network's output, of the shape of ``noisy``."""


class Step(Protocol):
    """One step of a sampler, which may remember the step before.

    Attributes:
        eta: Share of fresh noise; 0 where the sampler takes none.
        spacing: How its times are best spaced, see :func:`timesteps`.
    """

    eta: float
    spacing: Spacing

    def __call__(self, noisy: Tensor, found: Denoised, now: float, then: float, fresh: Tensor | None) -> Tensor:
        """Sample at signal share ``then`` from ``noisy`` at ``now``; ``fresh`` noise where the sampler wants it."""


@dataclass
class Ancestral:
    """The posterior of Ho et al. 2020; between distant times, of the process that skips those in between.

    Its variance is the published "fixedsmall": (1 - a_s) / (1 - a_t) (1 - a_t / a_s).
    """

    eta = 1.0
    spacing = "time"

    def __call__(self, noisy: Tensor, found: Denoised, now: float, then: float, fresh: Tensor | None) -> Tensor:
        """See :class:`Step`."""
        kept = now / then
        mean = (math.sqrt(then) * (1 - kept) * found.clean + math.sqrt(kept) * (1 - then) * noisy) / (1 - now)
        return mean if fresh is None else mean + math.sqrt((1 - then) / (1 - now) * (1 - kept)) * fresh


@dataclass
class Ddim:
    """Song et al., Denoising Diffusion Implicit Models (arXiv 2010.02502), eq. 12.

    Attributes:
        eta: Share of fresh noise: 0 deterministic, 1 ancestral sampling.
    """

    eta: float = 0.0
    spacing = "time"

    def __call__(self, noisy: Tensor, found: Denoised, now: float, then: float, fresh: Tensor | None) -> Tensor:
        """See :class:`Step`."""
        sigma = self.eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        moved = math.sqrt(then) * found.clean + math.sqrt(max(1 - then - sigma**2, 0.0)) * found.noise
        return moved if fresh is None else moved + sigma * fresh


@dataclass
class DpmSolver:
    """DPM-Solver++(2M) of Lu et al. (arXiv 2211.01095), algorithm 2; the first and the last step are of order one."""

    eta = 0.0
    spacing = "log_ratio"
    before: tuple[Tensor, float] | None = field(default=None, init=False)  # clean estimate and step of the last call

    def __call__(self, noisy: Tensor, found: Denoised, now: float, then: float, fresh: Tensor | None) -> Tensor:
        """See :class:`Step`."""
        if then == 1.0:  # the clean sample, at infinite log ratio of signal to noise
            self.before = None
            return found.clean
        step = _log_ratio(then) - _log_ratio(now)
        clean = found.clean
        if self.before is not None:
            earlier, earlier_step = self.before
            clean = clean + step / (2 * earlier_step) * (clean - earlier)
        self.before = (found.clean, step)
        return math.sqrt((1 - then) / (1 - now)) * noisy - math.sqrt(then) * math.expm1(-step) * clean


SAMPLERS: dict[str, Callable[[], Step]] = {"ddpm": Ancestral, "ddim": Ddim, "dpm-solver++": DpmSolver}
"""Name -> sampler."""


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): away from what the model says without a class.

    Attributes:
        conditional: The denoiser with its class.
        both: Denoiser of a batch twice as large, first half with, second half without the class.
        scale: 1 is the conditional model, above 1 exaggerates the class, 0 is the unconditional model.
    """

    conditional: Denoiser
    both: Denoiser
    scale: float = 1.0

    def __call__(self, noisy: Tensor, times: Tensor) -> Tensor:
        """The guided output."""
        if self.scale == 1.0:
            return self.conditional(noisy, times)
        with_class, without = self.both(torch.cat((noisy, noisy)), torch.cat((times, times))).chunk(2)
        return without + self.scale * (with_class - without)


def timesteps(
    diffusion: GaussianDiffusion, steps: int | None = None, start: int | None = None, spacing: Spacing = "time"
) -> list[int]:
    """Times that a sampler visits, falling from ``start`` to 0.

    Args:
        diffusion: The process.
        steps: How many; None for all.
        start: First time, None for the last of the process.
        spacing: Evenly in "time", or in "log_ratio", the log of signal over noise, in which the solvers' errors are
            even (near 0 neighbouring times lie farther apart than that; those that coincide are visited once).

    Raises:
        ConfigError: ``start`` is no time of the process, more steps are wanted than there are, unknown spacing.
    """
    start = diffusion.steps - 1 if start is None else start
    if not 0 <= start < diffusion.steps:
        raise ConfigError(f"timesteps: start must be in [0, {diffusion.steps}), got {start}")
    if spacing not in ("time", "log_ratio"):
        raise ConfigError(f'timesteps: spacing must be "time" or "log_ratio", got {spacing!r}')
    steps = start + 1 if steps is None else steps
    if not 1 <= steps <= start + 1:
        raise ConfigError(f"timesteps: steps must be between 1 and {start + 1}, the times there are, got {steps}")
    if steps == 1:
        return [start]
    if spacing == "time":
        return [round(start * (1 - index / (steps - 1))) for index in range(steps)]
    ratios = [_log_ratio(share) for share in diffusion.share[: start + 1]]  # falling
    wanted = [ratios[start] + index / (steps - 1) * (ratios[0] - ratios[start]) for index in range(steps)]
    return sorted({min(range(start + 1), key=lambda time: abs(ratios[time] - ratio)) for ratio in wanted}, reverse=True)


def sample(
    denoiser: Denoiser,
    diffusion: GaussianDiffusion,
    start: Tensor,
    *,
    sampler: str = "ddpm",
    steps: int | None = None,
    start_time: int | None = None,
    spacing: Spacing | None = None,
    eta: float | None = None,
    clip: float | None = None,
    known: Tensor | None = None,
    generator: torch.Generator | None = None,
    watch: Callable[[int, Tensor, Denoised], None] | None = None,
) -> Tensor:
    """Run the process backwards.

    Args:
        denoiser: The network.
        diffusion: The process it was trained on.
        start: [B, N, C] at ``start_time``: standard normal noise, or a noised sample to edit it.
        sampler: One of ``SAMPLERS``: "ddpm", "ddim", "dpm-solver++".
        steps: Number of times visited; None for all.
        spacing: See :func:`timesteps`; None for what suits the sampler: "log_ratio" for "dpm-solver++", else "time".
        start_time: Time of ``start``; None for the last.
        eta: Of "ddim": share of fresh noise, default 0.
        clip: Bound of the coordinates of every estimate of the clean sample, in units of training. None, as published,
            lets the errors of a network trained briefly grow: at the noisiest time they count 160-fold.
        known: [B, K, C], the clean value of the first K rows. They are noised anew to the current time before each
            step (RePaint, Lugmayr et al. 2022) and are returned as given; the rest is completed to fit.
        generator: Source of fresh noise; None: the global RNG of the device.
        watch: Called with (time, noisy sample, estimate) at every visited time.

    Returns:
        Clean samples [B, N, C].

    Raises:
        ConfigError: Unknown sampler, impossible steps, ``eta`` for another sampler than DDIM.
    """
    if sampler not in SAMPLERS:
        raise ConfigError(f"sample: sampler must be one of {sorted(SAMPLERS)}, got {sampler!r}")
    if eta is not None and sampler != "ddim":
        raise ConfigError(f'sample: eta belongs to sampler "ddim", got eta={eta} with {sampler!r}')
    step = Ddim(eta) if eta is not None else SAMPLERS[sampler]()
    times = timesteps(diffusion, steps, start_time, spacing or step.spacing)
    noisy = start
    for time, following in zip(times, [*times[1:], -1]):
        noisy = _hold(noisy, known, diffusion.share_at(time), generator)
        output = denoiser(noisy, torch.full((len(noisy),), time, device=noisy.device))
        found = diffusion.interpret(output.float(), noisy, time)
        if clip is not None:
            found = diffusion.explain(noisy, found.clean.clamp(-clip, clip), time)
        if watch is not None:
            watch(time, noisy, found)
        fresh = _normal(noisy, generator) if step.eta and following >= 0 else None
        noisy = step(noisy, found, diffusion.share_at(time), diffusion.share_at(following), fresh)
    return noisy if known is None else torch.cat((known, noisy[:, known.shape[1] :]), dim=1)


def _hold(noisy: Tensor, known: Tensor | None, share: float, generator: torch.Generator | None) -> Tensor:
    if known is None:
        return noisy
    held = math.sqrt(share) * known + math.sqrt(1 - share) * _normal(known, generator)
    return torch.cat((held, noisy[:, known.shape[1] :]), dim=1)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape of ``like``, drawn on the generator's device."""
    device = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def _log_ratio(share: float) -> float:
    """Half the log of the signal-to-noise ratio, log(sqrt(a) / sqrt(1 - a))."""
    return 0.5 * (math.log(share) - math.log1p(-share))
