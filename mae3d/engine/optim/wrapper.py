"""The optimizer step: precision, accumulation, clipping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mae3d.errors import ConfigError
from mae3d.registry import OPTIM_WRAPPERS

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@OPTIM_WRAPPERS.register_module()
class PrecisionOptimWrapper(OptimWrapper):
    """mmengine's optimizer wrapper with a named precision, on every device.

    ``bf16`` runs the forward pass under autocast and needs no loss scaling; ``fp16`` adds dynamic loss scaling and
    needs CUDA. Weights, gradients and optimizer state stay float32. The gradient norm stays a tensor until it is
    logged, so that clipping costs no device synchronisation.

    Args:
        optimizer: The optimizer.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        accumulative_counts: Batches whose gradients are averaged into one step.
        clip_grad: Arguments of ``torch.nn.utils.clip_grad_norm_`` (``max_norm``), or with ``type="value"`` of
            ``clip_grad_value_``.
        repeat_unclipped_step: Step on the gradient as it is and then again on the clipped one. This is what
            Point-MAE's published part segmentation does by mistake (its main.py steps twice a batch); it exists to
            reproduce those numbers.

    Raises:
        ConfigError: Unknown precision, or ``fp16`` without CUDA.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        precision: str = "fp32",
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        repeat_unclipped_step: bool = False,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, None if clip_grad is None else dict(clip_grad))
        if precision not in _DTYPES:
            raise ConfigError(f"optim_wrapper.precision={precision!r}, expected one of {sorted(_DTYPES)}")
        device = get_device()
        if precision == "fp16" and device != "cuda":
            raise ConfigError(f"optim_wrapper.precision='fp16' needs CUDA, the device is {device}; use 'bf16'")
        self.precision = precision
        self.repeat_unclipped_step = repeat_unclipped_step
        self.grad_norm: torch.Tensor | None = None
        self.loss_scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast (and skip gradient synchronisation between accumulated batches)."""
        dtype = _DTYPES[self.precision]
        with super().optim_context(model), torch.autocast(get_device(), dtype=dtype, enabled=dtype is not None):
            yield

    def backward(self, loss: torch.Tensor, **kwargs) -> None:
        """Back-propagate the (scaled) loss."""
        super().backward(self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        """Unscale, clip and step; a step with overflowing float16 gradients is skipped and the scale lowered."""
        if self.repeat_unclipped_step:
            self.loss_scaler.step(self.optimizer, **kwargs)
            self._clip_grad()
            self.optimizer.step(**kwargs)
        else:
            if self.clip_grad_kwargs:
                self.loss_scaler.unscale_(self.optimizer)
                self._clip_grad()
            self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()

    def state_dict(self) -> dict:
        """Return the optimizer's state, with the loss scale where there is one."""
        state = super().state_dict()
        if self.loss_scaler.is_enabled():
            state["loss_scaler"] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what `state_dict` gave, also from a run of another precision."""
        scaler = state_dict.pop("loss_scaler", None)
        if scaler is not None and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    def _clip_grad(self) -> None:
        if not self.clip_grad_kwargs:
            return
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if parameters:
            self.grad_norm = self.clip_func(parameters, **self.clip_grad_kwargs)
