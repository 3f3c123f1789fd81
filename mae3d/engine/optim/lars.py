"""LARS: layer-wise rates for very large batches (You et al., arXiv 1708.03888), as MAE's linear probe uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from mae3d.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """Momentum SGD whose step on a tensor is scaled by ``trust * |weight| / |gradient|``.

    Tensors of one dimension (biases, norms) are neither scaled nor decayed.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        weight_decay: Added to the gradient before it is scaled.
        momentum: Of the scaled gradients.
        trust: Trust coefficient.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float = 0.1,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; ``closure`` recomputes the loss, which is then returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict) -> None:
        update = parameter.grad
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            size, change = parameter.norm(), update.norm()
            scaled = group["trust"] * size / change
            update = update * torch.where((size > 0) & (change > 0), scaled, torch.ones_like(scaled))
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(update)
        parameter.add_(state["momentum"], alpha=-group["lr"])
