"""Reading and checking configs."""

from mae3d.engine.config.loading import load_config, override
from mae3d.engine.config.validation import resolve, validate

__all__ = ["load_config", "override", "resolve", "validate"]
