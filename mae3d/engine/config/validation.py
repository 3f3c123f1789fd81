"""Find misspelt keys in a config before anything is built: every dict is held against the signature it will meet."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import get_type_hints

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, LogProcessor, Runner
from torch.utils.data import DataLoader

from mae3d import registry as registries
from mae3d.errors import ConfigError

ENGINE_KEYS = {
    "lr_scaling",
    "compile_targets",
    "sync_bn",
    "find_unused_parameters",
    "model_wrapper_cfg",
}
"""Top-level keys of this package, beside the constructor arguments of mmengine's runners."""

_ADDED = {
    Hook: {"priority"},
    OptimWrapper: {"optimizer", "constructor", "paramwise_cfg"},
    _ParamScheduler: {"convert_to_iter_based"},
}
_ENVIRONMENT = {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}


def validate(cfg: Config) -> None:
    """Check every key of a config.

    Names that begin with an underscore are the config's own helpers and are not checked.

    Raises:
        ConfigError: A key that nothing accepts (with its path and the nearest name that is), or a type that cannot be
            found.
    """
    known = {*_names(Runner.__init__), *_names(FlexibleRunner.__init__), *ENGINE_KEYS} - {"self", "cfg"}
    for key, value in cfg.items():
        if key.startswith("_") or callable(value) or inspect.ismodule(value):
            continue  # a helper, or a name that the config file imported
        _check_key(key, known, "")
        _check(value, key)


def nearest(key: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "..."?`` for the closest known name, or nothing."""
    match = difflib.get_close_matches(str(key), [str(name) for name in known], n=1, cutoff=0.5)
    return f'; did you mean "{match[0]}"?' if match else ""


def _check(value, path: str) -> None:
    if isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            _check(item, f"{path}.{position}")
    elif isinstance(value, dict):
        accepted = _accepted(value, path)
        for key, item in value.items():
            if accepted is not None and key != "type":
                _check_key(key, accepted, path)
            _check(item, f"{path}.{key}")


def _check_key(key: str, accepted: set[str], path: str) -> None:
    if key in accepted:
        return
    where = f"{path}.{key}" if path else key
    raise ConfigError(f"{where}: unknown key{nearest(key, accepted)} Known here: {', '.join(sorted(accepted))}")


def _accepted(value: dict, path: str) -> set[str] | None:
    """Return the keys that a dict may have; None where anything goes."""
    if "type" in value:
        return parameters(resolve(value["type"], f"{path}.type"))
    if "dataset" in value and path.endswith("dataloader"):
        return {*_names(DataLoader.__init__), "num_batch_per_epoch"} - {"self"}
    if path == "randomness":
        return _names(Runner.set_randomness) - {"self"}
    if path == "log_processor":
        return parameters(LogProcessor)
    if path == "env_cfg":
        return _ENVIRONMENT
    return None


def parameters(target: Callable) -> set[str] | None:
    """Return the keyword arguments that a class or function accepts; None if it accepts any.

    A constructor with ``**kwargs`` is taken to pass them to the next class in its order of resolution.
    """
    if not inspect.isclass(target):
        return _function_parameters(target)
    found = set().union(*(names for base, names in _ADDED.items() if issubclass(target, base)))
    for base in target.__mro__:
        if "__init__" not in vars(base):
            continue
        if base is object:
            break
        names, open_ended = _signature(base.__init__)
        found |= names - {"self"}
        if not open_ended:
            return found
    has_constructor = any("__init__" in vars(base) for base in target.__mro__[:-1])
    return None if has_constructor else found


def _function_parameters(function: Callable) -> set[str] | None:
    """A function ``f(**overrides) -> Model`` passes them to ``Model``."""
    names, open_ended = _signature(function)
    if not open_ended:
        return names
    result = get_type_hints(function).get("return")
    passed = parameters(result) if inspect.isclass(result) else None
    return None if passed is None else names | passed


def resolve(kind, path: str) -> Callable:
    """Return the class or function that a config's ``type`` names: an object, a dotted path or a registered name.

    Raises:
        ConfigError: There is none; the nearest registered name is suggested.
    """
    if callable(kind):
        return kind
    name = str(kind)
    for registry in _registries():
        found = registry.get(name)
        if found is not None:
            return found
    try:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        known = {key for registry in _registries() for key in registry.module_dict}
        raise ConfigError(f"{path}: no class is registered as {name!r}{nearest(name, known)}") from None


def _registries() -> list[Registry]:
    own = [value for value in vars(registries).values() if isinstance(value, Registry)]
    parents = [registry.parent for registry in own]
    others = [value for value in vars(registries.mmengine_registry).values() if isinstance(value, Registry)]
    return list(dict.fromkeys([*own, *parents, *others]))


def _names(function: Callable) -> set[str]:
    return _signature(function)[0]


def _signature(function: Callable) -> tuple[set[str], bool]:
    kinds = inspect.signature(function).parameters.values()
    named = {p.name for p in kinds if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return named, any(p.kind is p.VAR_KEYWORD for p in kinds)
