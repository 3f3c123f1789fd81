"""Tables of sounds, as AudioSet, ESC-50 and AST's files are: one row a file, with one or several labels."""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.audio.base import AudioDataset
from mae3d.datasets.file_tree import FileTree
from mae3d.datasets.files import read_lines, require_file
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

logger = logging.getLogger("mae3d.datasets")
HINT = "Expected a .csv or .tsv file with a header, or a .json list of objects (or an object with such a list, 'data')."
Row = dict[str, str]


@DATASETS.register_module()
class AudioTable(AudioDataset):
    """Sounds that the rows of a table name.

    Args:
        table: .csv or .tsv (lines that begin with # are comments) or .json.
        root: Folder or .zip archive that the files' paths start from; None: the table's folder.
        samples: See :class:`AudioDataset`.
        path: Column of the file's path, or a template of columns such as "{YTID}.wav".
        label: Column of the label; None for sounds without one.
        columns: Names of the columns of a file that has no header.
        where: Only rows in which each named column has the given value, or one of the given values: ``{"fold": 5}``.
        multi_label: A row has several labels, parted by commas; samples have ``target`` instead of ``label``.
        classes: Labels in the order of their numbers, or a file of them: a .csv with a column "mid" (AudioSet's
            class_labels_indices.csv) or one label a line. None takes those found: whole numbers by size, else sorted.
        drop_missing: Leave out rows whose file is not there, and log how many: no copy of AudioSet is complete.
        **options: See :class:`AudioDataset`.

    Raises:
        DataError: The table is unreadable, a row lacks a column, no row is left, or a label is none of ``classes``.
    """

    def __init__(
        self,
        table: str | Path,
        root: str | Path | None = None,
        samples: int = 160000,
        *,
        path: str = "filename",
        label: str | None = None,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        multi_label: bool = False,
        classes: Sequence[str] | str | Path | None = None,
        drop_missing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(samples, **options)
        self.table = Path(table)
        self.tree = FileTree(self.table.parent if root is None else root, HINT)
        rows = [row for row in _read(self.table, columns) if _agrees(row, where or {}, self.table)]
        template = path if "{" in path else f"{{{path}}}"
        pairs = [(_filled(template, row, self.table), row) for row in rows]
        if drop_missing:
            pairs = self._present(pairs)
        if not pairs:
            raise DataError(f"{self.table}: no row is left of {len(rows)} that agree with {dict(where or {})}")
        self.paths = [name for name, _ in pairs]
        self.multi_label = multi_label
        named = [[] if label is None else self._named(row, label) for _, row in pairs]
        self.classes = _classes(classes, named)
        self.labels = self._numbered(named)
        self.prepare_skipping()

    def _present(self, pairs: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
        if self.tree.packed:
            there = set(self.tree.names("", ("",)))
            kept = [pair for pair in pairs if pair[0] in there]
        else:
            kept = [pair for pair in pairs if (self.tree.root / pair[0]).is_file()]
        if len(kept) < len(pairs):
            logger.warning("%s: %d of %d files are not there", self.table, len(pairs) - len(kept), len(pairs))
        return kept

    def _named(self, row: Row, column: str) -> list[str]:
        value = _filled(f"{{{column}}}", row, self.table)
        return [part.strip() for part in value.split(",") if part.strip()] if self.multi_label else [value]

    def _numbered(self, named: list[list[str]]) -> list[tuple[int, ...]]:
        numbers = {name: number for number, name in enumerate(self.classes)}
        labels = []
        for path, names in zip(self.paths, named):
            unknown = [name for name in names if name not in numbers]
            if unknown:
                raise DataError(f"{self.table}: label {unknown[0]!r} of {path} is none of the {len(numbers)} classes")
            labels.append(tuple(numbers[name] for name in names))
        return labels

    def __len__(self) -> int:
        return len(self.paths)

    def sample_name(self, index: int) -> str:
        """Path of the file."""
        return f"{self.tree.root}/{self.paths[index]}"

    def read(self, index: int) -> bytes:
        """The encoded file."""
        return self.tree.read(self.paths[index])

    def annotation(self, index: int) -> dict[str, Tensor]:
        """``target`` of a table with several labels a row, ``label`` of one with one, else nothing."""
        labels = self.labels[index]
        if self.multi_label:
            return {"target": torch.zeros(len(self.classes)).index_fill(0, torch.tensor(labels, dtype=torch.long), 1.0)}
        return {"label": torch.tensor(labels[0], dtype=torch.int64)} if labels else {}

    def sample_weights(self) -> Tensor:
        """For a sampler that balances classes: the sum of 1 / (files of the class) over a file's labels, float64 [N].

        As AST and Audio-MAE weigh AudioSet, where every count is 0.01 more.
        """
        counts = Counter(label for labels in self.labels for label in labels)
        weights = [sum(1 / (counts[label] + 0.01) for label in labels) for labels in self.labels]
        return torch.tensor(weights, dtype=torch.float64)


def _read(path: Path, columns: Sequence[str] | None) -> list[Row]:
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise ConfigError(f"AudioTable: {path} is none of .csv, .tsv, .json. {HINT}")
    lines = [line for line in read_lines(path, HINT) if not line.startswith("#")]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = list(csv.DictReader(lines, columns, delimiter=delimiter, skipinitialspace=True))
    for number, row in enumerate(rows):
        if None in row or None in row.values():
            kind = "more" if None in row else "fewer"
            raise DataError(f"{path}: row {number} has {kind} values than there are columns. {HINT}")
    return rows


def _read_json(path: Path) -> list[Row]:
    require_file(path, HINT)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error}). {HINT}") from error
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: holds no list of objects. {HINT}")
    return [{name: str(value) for name, value in row.items()} for row in rows]


def _filled(template: str, row: Row, table: Path) -> str:
    try:
        return template.format_map(row)
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(f"{table}: {template!r} cannot be filled ({error}); columns are {sorted(row)}") from error


def _agrees(row: Row, where: Mapping[str, Any], table: Path) -> bool:
    for column, wanted in where.items():
        values = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
        if _filled(f"{{{column}}}", row, table) not in {str(value) for value in values}:
            return False
    return True


def _classes(given: Sequence[str] | str | Path | None, named: list[list[str]]) -> tuple[str, ...]:
    if given is None:
        found = {name for names in named for name in names}
        return tuple(sorted(found, key=int if all(name.isdigit() for name in found) else None))
    if not isinstance(given, (str, Path)):
        return tuple(str(name) for name in given)
    path = Path(given)
    if path.suffix.lower() != ".csv":
        return tuple(read_lines(path, "Expected one class a line."))
    return tuple(_filled("{mid}", row, path) for row in _read(path, None))
