"""Noise schedules: how much variance each step of the noising process adds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mae3d.errors import ConfigError

COSINE_OFFSET = 0.008
MAX_BETA = 0.999

SCHEDULES: dict[str, tuple[float, float]] = {"linear": (1e-4, 2e-2), "warm0.1": (1e-5, 8e-3), "cosine": (0.0, 0.0)}
"""Name -> published first and last variance; the cosine schedule has none."""


def noise_schedule(name: str, steps: int, start: float | None = None, end: float | None = None) -> Tensor:
    """Variances beta_0 .. beta_{T-1}.

    "linear" rises from ``start`` to ``end`` (Ho et al. 2020). "warm0.1" rises over the first tenth of the steps and
    stays at ``end``: PVD and DiT-3D train airplanes with it. "cosine" makes the signal's share fall as a squared
    cosine (Nichol and Dhariwal 2021, eq. 17), each beta at most 0.999.

    Args:
        name: One of ``SCHEDULES``.
        steps: T.
        start: First variance; None takes the published one.
        end: Last variance; None takes the published one.

    Returns:
        float64 [T], on the CPU whatever the default device.

    Raises:
        ConfigError: Unknown name, no step, or variances outside 0 < start <= end < 1.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"noise_schedule: name must be one of {sorted(SCHEDULES)}, got {name!r}")
    if steps < 1:
        raise ConfigError(f"noise_schedule: steps must be at least 1, got {steps}")
    if name == "cosine":
        if start is not None or end is not None:
            raise ConfigError('noise_schedule: "cosine" takes neither start nor end; use "linear" to set them')
        time = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
        signal = ((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos().square()
        return (1 - signal[1:] / signal[:-1]).clamp(max=MAX_BETA)
    start, end = (given if given is not None else known for given, known in zip((start, end), SCHEDULES[name]))
    if not 0 < start <= end < 1:
        raise ConfigError(f"noise_schedule: needs 0 < start <= end < 1, got start {start} and end {end}")
    rising = steps if name == "linear" else int(steps * 0.1)
    betas = torch.full((steps,), end, dtype=torch.float64, device="cpu")
    betas[:rising] = torch.linspace(start, end, rising, dtype=torch.float64, device="cpu")
    return betas
