"""Read a config file and apply what the command line changes."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mae3d.engine.config.validation import validate
from mae3d.errors import ConfigError


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Load a config, override single values and check every key.

    Args:
        path: A pure-Python config file.
        options: Values by dotted path, ``{"train_cfg.max_epochs": 10, "param_scheduler.0.warmup": 1}``.

    Raises:
        ConfigError: The file is absent or cannot be parsed, or a key is unknown.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise ConfigError(f"no config at {path}; in its folder: {', '.join(near) or 'nothing'}")
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        raise ConfigError(
            f"{path} cannot be read as a config: {error or type(error).__name__}. Configs may import things that are "
            "values of `type`, but call and compute nothing that is imported"
        ) from error
    if options:
        override(cfg, options)
    validate(cfg)
    return cfg


def override(cfg: Config, options: dict) -> None:
    """Set values by dotted path, in place.

    Raises:
        ConfigError: The path goes through something that has no keys.
    """
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise ConfigError(f"--cfg-options {options}: {error}") from error
