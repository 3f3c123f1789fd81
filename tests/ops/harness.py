"""What every operator is held against: clouds that break things, opcheck, gradcheck, compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_cloud(batch: int, points: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Uniform cloud [B, N, 3]."""
    return torch.rand(batch, points, 3, generator=generator(seed)) * scale + shift


def lidar_like_cloud(points: int, seed: int = 0) -> Tensor:
    """One cloud [N, 3] whose density falls with range, as a spinning sensor sees flat ground and walls, metres."""
    g = generator(seed)
    azimuth = torch.rand(points, generator=g) * 2 * torch.pi
    reach = 2.0 + 70.0 * torch.rand(points, generator=g) ** 3
    height = torch.where(torch.rand(points, generator=g) < 0.7, -1.8, torch.rand(points, generator=g) * 4 - 1.8)
    return torch.stack((reach * azimuth.cos(), reach * azimuth.sin(), height), dim=-1)


def hard_clouds() -> dict[str, Tensor]:
    """Name -> cloud [N, 3] that a careless kernel gets wrong."""
    g = generator(7)
    base = torch.rand(97, 3, generator=g)
    return {
        "empty": torch.zeros(0, 3),
        "single": torch.tensor([[0.3, -0.2, 5.0]]),
        "two": torch.rand(2, 3, generator=g),
        "all equal": torch.full((50, 3), 0.25),
        "duplicates": base[torch.randint(0, 20, (97,), generator=g)],
        "lattice ties": torch.cartesian_prod(*[torch.arange(5.0)] * 3),
        "line": torch.stack((torch.linspace(0, 1, 64), torch.zeros(64), torch.zeros(64)), dim=-1),
        "plane": base * torch.tensor([1.0, 1.0, 0.0]),
        "far": base + 1e6,
        "huge": base * 1e18,
        "tiny": base * 1e-20,
        "with nan": torch.where(torch.rand(97, 1, generator=g) < 0.1, torch.nan, base),
        "with inf": torch.where(torch.rand(97, 1, generator=g) < 0.1, torch.inf, base),
        "all nan": torch.full((9, 3), torch.nan),
        "strided": torch.rand(40, 6, generator=g)[:, ::2],
    }


def pack(clouds: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Clouds -> packed rows [T, C] and offsets [B + 1]."""
    counts = torch.tensor([0, *(len(c) for c in clouds)])
    return torch.cat(clouds), counts.cumsum(0)


def check_op(op: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
    """torch.library.opcheck: schema, autograd registration, fake kernel, AOT dispatch with dynamic shapes."""
    torch.library.opcheck(op, args, kwargs or {})


def check_grad(function: Callable[..., Tensor], *inputs: Tensor, **kwargs: Any) -> None:
    """Gradcheck in float64."""
    doubles = [x.double().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs]
    assert torch.autograd.gradcheck(function, doubles, **kwargs)


def check_compiles(function: Callable[..., Any], *args: Any) -> None:
    """The function traces without a graph break and gives the eager result."""
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*args), function(*args))
