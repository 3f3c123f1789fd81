"""Which parameters decay, and how fast each layer learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmengine.logging import print_log
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mae3d.engine.optim.wrapper import PrecisionOptimWrapper
from mae3d.errors import ConfigError
from mae3d.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TransformerOptimConstructor:
    """Build the optimizer with the parameter groups of masked autoencoders, and print them.

    Weight decay leaves out parameters with one dimension, names that end with ``.bias``, and names with the word
    ``token``, such as ``mask_token`` (object-point family; Point-BERT and Point-MAE, ``tools/builder.py``). A word is
    a part of the name between dots and underscores, so ``tokenizer`` is another one. Frozen parameters are left out
    altogether.

    Args:
        optim_wrapper_cfg: Config of the wrapper with its ``optimizer``.
        paramwise_cfg: Options below.

            - ``no_decay``: words in names that are not decayed; default ``("token",)``.
            - ``layer_decay``: learning rate of layer ``i`` of ``n`` is multiplied by ``layer_decay ** (n - 1 - i)``,
              the depth being the model's ``get_layer_depth(name) -> (i, n)``; None for one rate.

    Raises:
        ConfigError: Unknown option, nothing to train, or layer-wise decay on a model without ``get_layer_depth``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.wrapper.setdefault("type", PrecisionOptimWrapper)
        self.optimizer = self.wrapper.pop("optimizer")
        options = dict(paramwise_cfg or {})
        self.no_decay = tuple(options.pop("no_decay", ("token",)))
        self.layer_decay = options.pop("layer_decay", None)
        if options:
            raise ConfigError(
                f"optim_wrapper.paramwise_cfg: unknown {sorted(options)}, expected 'no_decay' and 'layer_decay'"
            )

    def __call__(self, model: nn.Module):
        """Return the optimizer wrapper for ``model`` (a distributed wrapper is looked through)."""
        model = getattr(model, "module", model)
        groups = self._groups(model)
        if not groups:
            raise ConfigError("the model has no parameter with requires_grad=True; nothing can be trained")
        print_log(_table(groups), logger="current")
        optimizer = OPTIMIZERS.build({**self.optimizer, "params": [_without_names(group) for group in groups]})
        return OPTIM_WRAPPERS.build({**self.wrapper, "optimizer": optimizer})

    def _groups(self, model: nn.Module) -> list[dict]:
        rate, decay = self.optimizer["lr"], self.optimizer.get("weight_decay", 0.0)
        groups: dict[tuple[float, float], dict] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            scale = self._learning_rate_scale(model, name)
            value = decay if is_decayed(name, parameter, self.no_decay) else 0.0
            group = groups.setdefault((scale, value), {"lr": rate * scale, "weight_decay": value, "names": []})
            group["names"].append(name)
            group.setdefault("params", []).append(parameter)
        return [groups[key] for key in sorted(groups, reverse=True)]

    def _learning_rate_scale(self, model: nn.Module, name: str) -> float:
        if self.layer_decay is None:
            return 1.0
        layer, layers = _layer_depth_of(model)(name)
        return self.layer_decay ** (layers - 1 - layer)


def is_decayed(name: str, parameter: nn.Parameter, no_decay: tuple[str, ...] = ("token",)) -> bool:
    """Tell whether weight decay applies to a parameter (see `TransformerOptimConstructor`)."""
    words = name.replace(".", "_").split("_")
    return parameter.ndim > 1 and not name.endswith(".bias") and not any(word in words for word in no_decay)


def _layer_depth_of(model: nn.Module) -> Callable[[str], tuple[int, int]]:
    if not hasattr(model, "get_layer_depth"):
        raise ConfigError(
            f"optim_wrapper.paramwise_cfg.layer_decay needs {type(model).__name__}.get_layer_depth(name); "
            "set layer_decay=None for this model"
        )
    return model.get_layer_depth


def _without_names(group: dict) -> dict:
    return {key: value for key, value in group.items() if key != "names"}


def _table(groups: list[dict]) -> str:
    return "\n".join(["parameter groups:", *_rows(groups)])


def _rows(groups: list[dict]) -> Iterator[str]:
    for group in groups:
        count = sum(parameter.numel() for parameter in group["params"])
        names = group["names"]
        shown = ", ".join(names[:2]) + (f", ... {names[-1]}" if len(names) > 2 else "")
        yield (
            f"  lr {group['lr']:.3e}  weight decay {group['weight_decay']:g}  "
            f"{len(names)} tensors, {count:,} values: {shown}"
        )
