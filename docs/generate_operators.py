"""Writes docs/operators.md from the docstrings of mae3d.ops. ``--check`` fails if the file is out of date."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path

import mae3d.ops

TARGET = Path(__file__).parent / "operators.md"
HEADER = """# Operators

Generated from the docstrings of `mae3d.ops` by `make docs`; do not edit.

Every operator takes CPU and CUDA tensors, is traceable by `torch.compile(fullgraph=True)` and validates its
arguments: a wrong one raises `mae3d.errors.OperatorInputError`, which names it. *Dense* means `[B, N, C]`; *packed*
means rows `[T, C]` with `offsets [B + 1]`. Where no compiled kernel is present, a pure-torch form runs instead and
says so once; `python -m mae3d.env` tells which.
"""


def _section(name: str) -> str:
    item = getattr(mae3d.ops, name)
    doc = inspect.getdoc(item) or ""
    if inspect.isclass(item):
        fields = ", ".join(getattr(item, "_fields", ()))
        return f"### {name}\n\n`{name}({fields})`\n\n```text\n{doc}\n```\n"
    return f"### {name}\n\n```python\n{name}{inspect.signature(item)}\n```\n\n```text\n{doc}\n```\n"


def render() -> str:
    """The whole page."""
    by_module: dict[str, list[str]] = {}
    for name, item in sorted(vars(mae3d.ops).items()):
        module = getattr(item, "__module__", "")
        if not name.startswith("_") and module.startswith("mae3d.ops."):
            by_module.setdefault(module.rsplit(".", 1)[-1], []).append(name)
    parts = [HEADER]
    for module, names in sorted(by_module.items()):
        summary = (inspect.getdoc(sys.modules[f"mae3d.ops.{module}"]) or "").strip()
        parts += [f"## {module}\n\n{summary}\n", *map(_section, names)]
    return "\n".join(parts)


def main() -> int:
    """Write the page, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the page is out of date")
    text = render()
    if not parser.parse_args().check:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    print("docs/operators.md is out of date: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
