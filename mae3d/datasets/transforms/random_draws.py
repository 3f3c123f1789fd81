"""Random numbers for transforms of batches: on the batch's device, from one generator."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_uniform(
    shape: tuple[int, ...], low: float, high: float, like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """U(low, high) of ``shape`` with the dtype and device of ``like``.

    Without a generator, torch's global one of that device is used; a generator of another device is obeyed and its
    numbers are moved.
    """
    device = like.device if generator is None else generator.device
    draws = torch.rand(shape, dtype=like.dtype, device=device, generator=generator)
    return (low + (high - low) * draws).to(like.device)


def draw_normal(shape: tuple[int, ...], std: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """N(0, std) of ``shape`` with the dtype and device of ``like``."""
    device = like.device if generator is None else generator.device
    return (std * torch.randn(shape, dtype=like.dtype, device=device, generator=generator)).to(like.device)


def draw_permutation(count: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random order of 0..count-1, int64, on the device of ``like``."""
    device = like.device if generator is None else generator.device
    return torch.randperm(count, device=device, generator=generator).to(like.device)


def draw_beta(shape: tuple[int, ...], alpha: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Beta(alpha, alpha) of ``shape`` with the dtype and device of ``like``."""
    device = like.device if generator is None else generator.device
    concentration = torch.full((2, *shape), alpha, device=device, dtype=torch.float64)
    gamma = torch._standard_gamma(concentration, generator=generator)
    return (gamma[0] / gamma.sum(dim=0)).to(like)
