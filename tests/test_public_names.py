"""Names that users import and type do not vanish by accident: ``tests/public_names.txt`` lists them."""

import importlib
import pkgutil
from types import ModuleType

import mae3d
from mae3d import registry
from mae3d.errors import MissingExtraError
from mae3d.registry import Registry
from tests.engine.runs import ROOT

LIST = ROOT / "tests" / "public_names.txt"


def modules() -> list[ModuleType]:
    """Every module of the package whose requirements are installed (bridges to other packages may lack theirs)."""
    found = []
    for info in pkgutil.walk_packages(mae3d.__path__, "mae3d.", onerror=lambda name: None):
        try:
            found.append(importlib.import_module(info.name))
        except MissingExtraError:
            continue
    return found


def public_names() -> list[str]:
    """``module.name`` of everything in an ``__all__``, and ``registry:name`` of everything registered."""
    names = [f"{module.__name__}.{member}" for module in modules() for member in getattr(module, "__all__", ())]
    for kind, children in vars(registry).items():
        if isinstance(children, Registry):
            names += [f"{kind}:{member}" for member in children.module_dict if not member.endswith("_test")]
    return sorted(name for name in names if "mmdet3d" not in name)


def test_no_public_name_has_vanished():
    """New names need no entry at once; one that goes is struck from the list on purpose, with a line in CHANGELOG."""
    gone = sorted(set(LIST.read_text().splitlines()) - set(public_names()))
    assert not gone, f"{LIST.name} has names that are no more: {gone}; write it anew: python -m tests.test_public_names"


def test_every_name_in_all_exists():
    for module in modules():
        assert not [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)], module.__name__


if __name__ == "__main__":
    LIST.write_text("\n".join(public_names()) + "\n")
