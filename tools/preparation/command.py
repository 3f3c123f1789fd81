"""A data set on the command line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from mae3d.datasets.layout_report import LayoutReport


@dataclass(frozen=True)
class Command:
    """What one data set name does.

    Attributes:
        run: Checks, builds or writes; its docstring is the help text.
        add_arguments: Adds the options that the data set has beside the common ones.
        place: Names of the option of the folder.
        reads: Whether there are data to check (``--check-only``, ``--deep``).
    """

    run: Callable[[Namespace], LayoutReport]
    add_arguments: Callable[[ArgumentParser], None] = lambda command: None
    place: tuple[str, ...] = ("--root",)
    reads: bool = True
