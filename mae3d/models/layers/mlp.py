"""The feed-forward half of a transformer block."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.errors import ConfigError

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


class Mlp(nn.Module):
    """Linear, activation, Linear.

    Args:
        dim: Width of input and output.
        hidden_dim: Width between.
        activation: "gelu" (exact, with erf), "relu" or "silu".
    """

    def __init__(self, dim: int, hidden_dim: int, activation: str = "gelu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(f"Mlp: activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        return self.fc2(self.act(self.fc1(x)))
