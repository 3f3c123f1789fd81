"""Folders or zip archives of sounds: one sub-folder a class (Speech Commands), or classes in the files' names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.audio.base import AudioDataset
from mae3d.datasets.audio.reader import SUFFIXES
from mae3d.datasets.file_tree import FileTree
from mae3d.datasets.files import read_lines
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Expected SPLIT/CLASS/NAME.wav inside, or SPLIT/NAME.wav for sounds without classes."


@DATASETS.register_module()
class AudioFolder(AudioDataset):
    """Sounds under ``root/split``.

    Args:
        root: Folder, or a .zip archive that holds what the folder would.
        split: Sub-folder, "" for the root itself.
        samples: See :class:`AudioDataset`.
        classes: Names of the classes in the order of their numbers; None takes those found, sorted.
        class_pattern: Regular expression whose first group is the class in a file's path below the split, as in
            ``r"^(\\d)_"`` for 7_name_3.wav; None: the name of the sub-folder. Sub-folders whose name begins with an
            underscore (Speech Commands' background noise) hold no samples then.
        select: Regular expression; only files whose path below the split it is found in are taken.
        listed: Text file of paths below the split, one a line: only those are taken (testing_list.txt).
        unlisted: Such files whose paths are left out.
        **options: See :class:`AudioDataset`.

    Raises:
        DataError: The folder or a list is missing, no sound is left, or a class is none of ``classes``.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "",
        samples: int = 160000,
        *,
        classes: Sequence[str] | None = None,
        class_pattern: str | None = None,
        select: str | None = None,
        listed: str | Path | None = None,
        unlisted: Sequence[str | Path] = (),
        **options: Any,
    ) -> None:
        super().__init__(samples, **options)
        self.root, self.split = Path(root), split
        self.tree = FileTree(root, HINT)
        paths = self.tree.names(split, SUFFIXES)
        if class_pattern is None:
            paths = [path for path in paths if not path.startswith("_")]
        if select is not None:
            paths = [path for path in paths if _compiled(select, "select").search(path)]
        if listed is not None:
            wanted = set(_listed(listed))
            absent = sorted(wanted - set(paths))
            if absent:
                raise DataError(f"{listed}: {len(absent)} of its files are not under {self.root}, first {absent[0]!r}")
            paths = [path for path in paths if path in wanted]
        unwanted = {path for one in unlisted for path in _listed(one)}
        self.paths = [path for path in paths if path not in unwanted]
        if not self.paths:
            raise DataError(f"{self.root}: no sound ({', '.join(SUFFIXES)}) is left under {split or '.'!r}. {HINT}")
        self.labels = self._labels(class_pattern, classes)
        self.prepare_skipping()

    def _labels(self, pattern: str | None, classes: Sequence[str] | None) -> list[int | None]:
        names = [path.rpartition("/")[0].split("/")[0] for path in self.paths]  # "" outside any sub-folder
        if pattern is not None:
            names = [_found(_compiled(pattern, "class_pattern"), path) for path in self.paths]
        found = set(names) - {""}
        self.classes = tuple(sorted(found)) if classes is None else tuple(classes)
        unknown = sorted(found - set(self.classes))
        if unknown:
            raise DataError(f"{self.root}: classes {unknown[:5]} are none of the {len(self.classes)} given ones")
        numbers = {name: number for number, name in enumerate(self.classes)}
        return [numbers.get(name) for name in names]

    def __len__(self) -> int:
        return len(self.paths)

    def sample_name(self, index: int) -> str:
        """Path of the file."""
        return f"{self.root}/{self._inside(index)}"

    def _inside(self, index: int) -> str:
        return f"{self.split}/{self.paths[index]}" if self.split else self.paths[index]

    def read(self, index: int) -> bytes:
        """The encoded file."""
        return self.tree.read(self._inside(index))

    def annotation(self, index: int) -> dict[str, Tensor]:
        """The file's class, if there are classes."""
        label = self.labels[index]
        return {} if label is None else {"label": torch.tensor(label, dtype=torch.int64)}


def _compiled(pattern: str, name: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"AudioFolder: {name}={pattern!r} is no regular expression ({error})") from error
    if name == "class_pattern" and not compiled.groups:
        raise ConfigError(f"AudioFolder: class_pattern={pattern!r} has no group (...) for the class")
    return compiled


def _found(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path)
    if match is None:
        raise DataError(f"AudioFolder: class_pattern {pattern.pattern!r} is not found in {path!r}")
    return match[1]


def _listed(path: str | Path) -> list[str]:
    return read_lines(Path(path), "Expected one path a line, as in Speech Commands' testing_list.txt.")
