"""The floors of the house: a module imports from lower floors only (docs/architecture.md)."""

import ast
import re
from pathlib import Path

import pytest

FLOORS = [
    {"errors", "registry"},
    {"ops", "structures"},
    {"datasets", "models", "evaluation", "visualization"},
    {"models.methods", "models.heads"},
    {"checkpoints"},
    {"engine", "integrations"},
]
SEPARATE = {("datasets", "models"), ("models", "datasets")}
"""Rooms on one floor that must never import each other."""


def _room(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "mae3d" or len(parts) < 2:
        return None
    pair = ".".join(parts[1:3])
    return pair if any(pair in floor for floor in FLOORS) else parts[1]


def _floor(room: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def _imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module))
    return found


def test_modules_import_from_lower_floors_only(repository):
    wrong = []
    for path in sorted((repository / "mae3d").rglob("*.py")):
        module = ".".join(path.relative_to(repository).with_suffix("").parts)
        room = _room(module)
        if room is None or _floor(room) is None:
            continue
        for line, imported in _imports(path):
            other = _room(imported)
            if other is None or other == room or _floor(other) is None:
                continue
            if _floor(other) > _floor(room) or (room.split(".")[0], other.split(".")[0]) in SEPARATE:
                wrong.append(f"{path.relative_to(repository)}:{line} ({room}) imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_no_relative_imports_in_the_package(repository):
    relative = [
        f"{path.relative_to(repository)}:{node.lineno}"
        for path in (repository / "mae3d").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative, f"write absolute imports: {relative}"


def test_every_folder_of_the_package_is_a_package(repository):
    folders = {path.parent for path in (repository / "mae3d").rglob("*.py")}
    assert not [f for f in folders if not (f / "__init__.py").exists()]


@pytest.mark.parametrize("page", ["README.md", "docs"])
def test_links_between_pages_lead_somewhere(repository, page):
    root = repository / page
    broken = []
    for path in [root] if root.is_file() else sorted(root.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(repository)} -> {target}")
    assert not broken, broken
