"""Files below a folder or inside a zip archive, read the same way."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mae3d.errors import DataError


class FileTree:
    """A folder, or a .zip archive that holds what the folder would.

    Args:
        root: Where.
        hint: Ends the error messages.
    """

    def __init__(self, root: str | Path, hint: str) -> None:
        self.root, self.hint = Path(root), hint
        self._archive: tuple[int, zipfile.ZipFile] | None = None

    @property
    def packed(self) -> bool:
        """Whether it is an archive."""
        return self.root.suffix == ".zip"

    def names(self, folder: str, suffixes: Sequence[str]) -> list[str]:
        """Files below ``folder`` ("" for all) that end in one of ``suffixes``, as sorted paths relative to it.

        Raises:
            DataError: The folder is missing, or the archive is unreadable.
        """
        prefix = f"{folder}/" if folder else ""
        if self.packed:
            inside = [name.removeprefix(prefix) for name in self._open().namelist() if name.startswith(prefix)]
        else:
            inside = self._walk(self.root / folder)
        return sorted(name for name in inside if name.lower().endswith(tuple(suffixes)))

    def _walk(self, folder: Path) -> list[str]:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. {self.hint}")
        found = []
        for place, _, files in os.walk(folder, followlinks=True):
            inside = Path(place).relative_to(folder)
            found += [(inside / file).as_posix() for file in files]
        return found

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            DataError: It cannot be read.
        """
        try:
            return self._open().read(name) if self.packed else (self.root / name).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.root}/{name}: cannot be read ({error}).") from error

    def _open(self) -> zipfile.ZipFile:
        """The archive, opened once in every process: workers must not share a file position."""
        if self._archive is None or self._archive[0] != os.getpid():
            try:
                self._archive = (os.getpid(), zipfile.ZipFile(self.root))
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{self.root}: not a readable zip archive ({error}). {self.hint}") from error
        return self._archive[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}
