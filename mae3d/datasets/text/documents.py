"""Files of documents: lines of JSON, lines of text, parquet; read one document at a time."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import require_file
from mae3d.errors import ConfigError, DataError, MissingExtraError

SUFFIXES = (".jsonl", ".txt", ".parquet")
HINT = "Documents are .jsonl (an object a line), .txt (a document a line) or .parquet files."


class LineFile:
    """Non-blank lines of a file by their number, without the file in memory.

    Args:
        path: UTF-8 text file.
    """

    def __init__(self, path: Path) -> None:
        self.path = require_file(path, HINT)
        with path.open("rb") as file:
            places, start = [], 0
            for line in file:
                if line.strip():
                    places.append(start)
                start += len(line)
        self.places = np.asarray(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def line(self, number: int) -> str:
        """Line ``number``, stripped."""
        with self.path.open("rb") as file:
            file.seek(self.places[number])
            return self._text(file.readline(), number)

    def _text(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}[{number}]: not UTF-8 text ({error})") from error

    def row(self, number: int) -> dict[str, Any]:
        """Line ``number`` as a document."""
        return {"text": self.line(number)}


class JsonLines(LineFile):
    """Objects of a .jsonl file by their number."""

    def row(self, number: int) -> dict[str, Any]:
        """Object ``number``."""
        return self._parse(self.line(number), number)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All objects in order, in one pass over the file."""
        with self.path.open("rb") as file:
            lines = (line for line in file if line.strip())
            yield from (self._parse(self._text(line, number), number) for number, line in enumerate(lines))

    def _parse(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{self.path}[{number}]: not a line of JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{self.path}[{number}]: expected an object, found {type(row).__name__}")
        return row


class ParquetRows:
    """Rows of a parquet file by their number; the last row group is kept.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = require_file(path, HINT)
        self._file: tuple[int, Any] | None = None
        self._group: tuple[int, Any] = (-1, None)
        notes = self._open().metadata
        self.ends = list(accumulate(notes.row_group(group).num_rows for group in range(notes.num_row_groups)))

    def _open(self) -> Any:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError("pyarrow", "text", f"reading {self.path.name}") from error
        if self._file is None or self._file[0] != os.getpid():
            try:
                self._file = (os.getpid(), parquet.ParquetFile(self.path))
            except (OSError, pyarrow.ArrowInvalid) as error:
                raise DataError(f"{self.path}: not a readable parquet file ({error})") from error
        return self._file[1]

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_group": (-1, None)}

    def row(self, number: int) -> dict[str, Any]:
        """Row ``number``."""
        group = bisect_right(self.ends, number)
        if self._group[0] != group:
            self._group = (group, self._open().read_row_group(group))
        place = number - (self.ends[group - 1] if group else 0)
        return self._group[1].slice(place, 1).to_pylist()[0]


READERS = {".jsonl": JsonLines, ".txt": LineFile, ".parquet": ParquetRows}


class Documents(Sequence):
    """Documents of one or more files, counted through.

    Args:
        path: A file, or a folder whose .jsonl, .txt and .parquet files are read in sorted order.
        field: Key (column) of the text; .txt files have none. A text may also be a list of sentences.

    Raises:
        DataError: Nothing is there, or a file is of another kind.
    """

    def __init__(self, path: str | Path, field: str = "text") -> None:
        path = Path(path)
        files = [path] if path.is_file() else sorted(one for one in path.glob("*") if one.suffix in SUFFIXES)
        if not files:
            raise DataError(f"{path}: no file, and no folder with documents. {HINT}")
        unknown = [one for one in files if one.suffix not in READERS]
        if unknown:
            raise DataError(f"{unknown[0]}: unknown kind of file {unknown[0].suffix!r}. {HINT}")
        self.field = field
        self.files = [READERS[one.suffix](one) for one in files]
        self.ends = list(accumulate(map(len, self.files)))
        if not self.ends[-1]:
            raise DataError(f"{path}: the {len(files)} files hold no document. {HINT}")

    def __len__(self) -> int:
        return self.ends[-1]

    def _locate(self, index: int) -> tuple[Any, int]:
        number = bisect_right(self.ends, index)
        return self.files[number], index - (self.ends[number - 1] if number else 0)

    def name(self, index: int) -> str:
        """File and line or row of a document."""
        file, place = self._locate(int(index))
        return f"{file.path}[{place}]"

    def row(self, index: int) -> dict[str, Any]:
        """All fields of a document."""
        file, place = self._locate(int(index))
        return file.row(place)

    def __getitem__(self, index: int) -> str | list[str]:
        """The text of a document, or its sentences where the file has them apart."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        file, place = self._locate(int(index))
        field = "text" if type(file) is LineFile else self.field
        return field_of(file.row(place), field, self.name(index))


def field_of(row: dict[str, Any], field: str, name: str) -> Any:
    """Text, or list of texts, in a field of a document; ``name`` begins the message of a DataError."""
    if field not in row:
        raise DataError(f"{name}: lacks the field {field!r}, it has {sorted(row)}")
    value = row[field]
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        return value
    raise DataError(f"{name}: field {field!r} must be a text or a list of texts, got {type(value).__name__}")


def check_length(owner: str, max_length: int) -> int:
    """``max_length``, which must leave room for a token between the two special ones."""
    if max_length < 3:
        raise ConfigError(f"{owner}: max_length counts the two special tokens and must be at least 3, got {max_length}")
    return max_length
