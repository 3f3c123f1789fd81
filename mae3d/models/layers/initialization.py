"""The two weight initialisations that published ViTs use."""

from __future__ import annotations

from typing import Literal

from torch import nn

from mae3d.errors import ConfigError

Initialization = Literal["trunc_normal", "xavier_uniform", "default"]


def initialize(module: nn.Module, scheme: Initialization) -> None:
    """Initialise every Linear and LayerNorm inside ``module`` in place, from the global CPU RNG.

    Args:
        module: Any module; layers of other kinds keep what they have.
        scheme: Linear weights "trunc_normal" (std 0.02, cut at +-2) or "xavier_uniform", both with zero bias and
            LayerNorm (1, 0); "default" leaves torch's own.
    """
    if scheme not in ("trunc_normal", "xavier_uniform", "default"):
        raise ConfigError(f'initialize: scheme must be "trunc_normal", "xavier_uniform" or "default", got {scheme!r}')
    if scheme == "default":
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            if scheme == "trunc_normal":
                nn.init.trunc_normal_(layer.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm) and layer.elementwise_affine:
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
