"""PEP 517 backend: setuptools, plus torch as a build requirement only where no torch is found to compile against.

``pip install .`` then uses the torch of the environment it installs into instead of downloading a second one.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks of the interface)


def _requirements() -> list[str]:
    installed = any((Path(sysconfig.get_path(kind)) / "torch").is_dir() for kind in ("purelib", "platlib"))
    return [] if installed else ["torch>=2.10,<3"]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Build requirements of a wheel."""
    return build_meta.get_requires_for_build_wheel(config_settings) + _requirements()


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Build requirements of an editable install."""
    return build_meta.get_requires_for_build_editable(config_settings) + _requirements()
