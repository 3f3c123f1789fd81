"""Fully sharded training (FSDP2): parameters, gradients and optimizer state divided among the processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner.checkpoint import save_checkpoint
from mmengine.utils import apply_to
from torch import nn
from torch.distributed import get_world_size, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from mae3d.engine.storage import ATOMIC
from mae3d.errors import CheckpointError, ConfigError
from mae3d.models.targets import EmaTeacher
from mae3d.registry import STRATEGIES

_ENTRIES = ("extract_features", "reconstruct")
"""Methods beside ``forward`` that the engine calls on a model."""


@STRATEGIES.register_module()
class ShardedStrategy(DDPStrategy):
    """FSDP2 for mmengine's flexible runner: ``strategy=dict(type=ShardedStrategy, shard=["Block"])``.

    Checkpoints are the same files as without sharding, keys and all: they are gathered on every process and written by
    the first, and any number of processes, sharded or not, can resume from them.

    Args:
        shard: Class names of the modules that are gathered one at a time, usually the transformer block; what is left
            is gathered as a whole.
        reshard_after_forward: Free gathered parameters between forward and backward: less memory, more traffic.
        **kwargs: Given by the runner.

    Raises:
        ConfigError: No module of the model has one of the class names, or the model has an averaging teacher.
    """

    def __init__(self, *, shard: Sequence[str] = (), reshard_after_forward: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.shard = tuple(shard)
        self.reshard_after_forward = reshard_after_forward

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if any(isinstance(module, EmaTeacher) for module in model.modules()):
            raise ConfigError("strategy: EmaTeacher averages whole tensors and does not work on shards; use DDP")
        model = model.to(get_device())
        mesh = init_device_mesh(get_device(), (get_world_size(),))
        parts = [module for module in model.modules() if type(module).__name__ in self.shard]
        if self.shard and not parts:
            kinds = sorted({type(module).__name__ for module in model.modules()})
            raise ConfigError(f"strategy.shard={list(self.shard)} matches no module, expected some of {kinds}")
        for part in parts:
            fully_shard(part, mesh=mesh, reshard_after_forward=self.reshard_after_forward)
        fully_shard(model, mesh=mesh, reshard_after_forward=False)  # its parameters are needed again at once
        for name in _ENTRIES:
            if hasattr(model, name):
                register_fsdp_forward_method(model, name)
        return model

    def model_state_dict(self) -> dict:
        """Return whole tensors on the host; all processes must call it."""
        return whole(self.model.state_dict())

    def optim_state_dict(self) -> dict:
        """Return the optimizer's state likewise."""
        return whole(self.optim_wrapper.state_dict())

    def load_model_state_dict(
        self, state_dict: dict, *, strict: bool = False, revise_keys: Sequence[tuple[str, str]] = ((r"^module.", ""),)
    ) -> None:
        """Divide whole tensors among the processes."""
        own = self.model.state_dict()
        for pattern, replacement in revise_keys:
            state_dict = {re.sub(pattern, replacement, name): value for name, value in state_dict.items()}
        divided = {name: like(value, own[name], name) for name, value in state_dict.items() if name in own}
        result = self.model.load_state_dict(divided, strict=strict)
        unused = sorted(state_dict.keys() - own.keys())
        if result.missing_keys or unused:
            print_log(f"weights: not in the file {result.missing_keys}, not used {unused}", logger="current")

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Divide the optimizer's state likewise."""
        wrapper = self.optim_wrapper
        parameters = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
        for number, entry in state_dict["state"].items():
            owner = parameters[number]
            for name, value in entry.items():
                if isinstance(value, torch.Tensor) and value.shape == owner.shape:
                    entry[name] = like(value, owner, name)
        wrapper.load_state_dict(state_dict)

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable[[dict], None] | None = None,
    ) -> None:
        """Gather on all processes, write on the first."""
        checkpoint = {"state_dict": self.model_state_dict(), **(extra_ckpt or {})}
        checkpoint.setdefault("meta", {})["seed"] = self.seed
        if save_optimizer and hasattr(self, "optim_wrapper"):
            checkpoint["optimizer"] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, "param_schedulers"):
            checkpoint["param_schedulers"] = self.scheduler_state_dict()
        if is_main_process():
            if callback is not None:
                callback(checkpoint)
            save_checkpoint(checkpoint, filename, backend_args=ATOMIC)
        barrier()


def whole(tree: dict) -> dict:
    """Return a nest of dicts and lists with every tensor whole and on the host."""
    return apply_to(tree, lambda value: isinstance(value, torch.Tensor), _whole_tensor)


def _whole_tensor(value: torch.Tensor) -> torch.Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()


def like(value: torch.Tensor, owner: torch.Tensor, name: str) -> torch.Tensor:
    """Return ``value`` divided and placed as ``owner``; every process holds the whole ``value``.

    Raises:
        CheckpointError: The shapes differ.
    """
    if value.shape != owner.shape:
        raise CheckpointError(f"{name}: shape {tuple(value.shape)} in the file, {tuple(owner.shape)} in the model")
    value = value.to(owner.device)
    if not isinstance(owner, DTensor):
        return value
    return distribute_tensor(value, owner.device_mesh, owner.placements, src_data_rank=None)
