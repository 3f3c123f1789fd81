"""What the pages, configs and tools tell a reader to type: files, options and names in it exist."""

import ast
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from mae3d.engine.config import load_config
from mae3d.errors import MissingExtraError
from tests.engine.runs import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPEAKING = [*PAGES, *sorted((ROOT / "tools").glob("*.py")), *sorted((ROOT / "configs").rglob("*.py"))]
PLACEHOLDER = "configs/mine/"
"""Folder that the page on own data lets the reader make."""
NAMED = re.compile(r"(?<!\.\./)\b((?:configs|tools|benchmarks|mae3d|csrc|docs)/[\w./-]+\.(?:py|sh|md|png))")
"""A file of the repository in a text; a link that climbs is relative to its page."""


def blocks(page: Path, languages: str) -> list[str]:
    return re.findall(rf"^```(?:{languages})\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """Lines that call a tool, continuation lines joined, comments and shell braces left out."""
    text = path.read_text()
    if path.suffix == ".md":
        text = "\n".join([*blocks(path, "sh"), *re.findall(r"`(python tools/[^`]+)`", text)])
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    called = [re.search(r"(?:^|\s)python (tools/\w+\.py\s.*)", line.strip()) for line in lines]
    return [match[1].split("  #")[0] for match in called if match and not re.search(r"[{<\"']", match[1])]


def parse(tool: Path, words: list[str], monkeypatch):
    """The tool's own reading of its command line."""
    spec = importlib.util.spec_from_file_location(f"documented_{tool.stem}", tool)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(tool), *words])
    read = getattr(module, "parse", None) or getattr(module, "parse_arguments", None)
    return read() if read else None


@pytest.mark.parametrize("path", SPEAKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_are_understood(path, monkeypatch):
    for command in commands(path):
        tool, *words = shlex.split(command)
        assert (ROOT / tool).is_file(), command
        try:
            options = parse(ROOT / tool, words, monkeypatch)
        except SystemExit as stop:
            if stop.code:
                pytest.fail(f"{path.name}: the tool does not understand: {command}")
            continue  # --help
        changed = getattr(options, "cfg_options", None)
        if changed and (ROOT / str(options.config)).is_file():
            load_config(ROOT / str(options.config), changed)


@pytest.mark.parametrize("path", SPEAKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path):
    absent = [
        name
        for name in NAMED.findall(path.read_text())
        if not (ROOT / name).exists() and not name.startswith(PLACEHOLDER)
    ]
    assert not absent, f"{path.name} names {absent}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "operators.md"], ids=lambda page: page.name)
def test_python_blocks_compile_and_import_what_exists(page):
    for block in blocks(page, "python"):
        tree = ast.parse(block, filename=str(page))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                try:
                    module = importlib.import_module(node.module)
                except MissingExtraError:
                    continue
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{page.name}: {node.module} has no {missing}"


def test_there_is_much_to_check():
    """An expression that no longer finds anything would let the tests above pass."""
    assert sum(len(commands(path)) for path in SPEAKING) > 200
    assert sum(len(NAMED.findall(path.read_text())) for path in SPEAKING) > 400
    assert sum(len(blocks(page, "python")) for page in PAGES) > 30


def test_make_targets_exist():
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        typed = re.findall(r"^make ([a-z]+)", "\n".join(blocks(page, "sh")), re.MULTILINE)
        typed += re.findall(r"`make ([a-z]+)`", page.read_text())
        assert set(typed) <= known, page.name


def test_config_values_named_on_the_training_page_are_known():
    config = ROOT / "configs" / "point_mae" / "point-mae_small_300e_modelnet40-1k.py"
    text = (ROOT / "docs" / "training.md").read_text()
    keys = set(re.findall(r"`((?:train_cfg|optim_wrapper|param_scheduler|default_hooks|model)\.[\w.]+)", text))
    assert len(keys) > 5
    for key in keys:
        load_config(config, {key: 1})


def test_every_tool_and_system_has_its_place_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for page in sorted((ROOT / "docs" / "systems").glob("*.md")):
        assert f"docs/systems/{page.name}" in readme, page.name
    told = "\n".join(path.read_text() for path in [*PAGES, ROOT / "Makefile"])
    for tool in sorted((ROOT / "tools").glob("*.py")):
        is_command = "__main__" in tool.read_text()
        assert not is_command or f"tools/{tool.name}" in told, tool.name
