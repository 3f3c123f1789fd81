"""Folders of images, one sub-folder a class (the layout of ImageNet), or a zip archive of such a folder."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mae3d.datasets.images.base import ImageDataset, decode_image
from mae3d.datasets.transforms.image.frames import FrameTransform
from mae3d.errors import DataError
from mae3d.registry import DATASETS

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
HINT = "Expected SPLIT/CLASS/NAME.jpg inside, or SPLIT/NAME.jpg for images without classes."


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """Images under ``root/split``: classes are the names of the sub-folders, in sorted order.

    Args:
        root: Folder, or a .zip archive that holds what the folder would.
        split: Sub-folder, e.g. "train" or "val"; "" for the root itself.
        transforms: See :class:`ImageDataset`.
        classes: Names of the classes in the order of their numbers, where not all of them need be in this split.
        **options: See :class:`ImageDataset`.

    Raises:
        DataError: The folder is missing or holds no image, or a sub-folder is none of ``classes``.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transforms: Sequence[dict | FrameTransform] = (),
        *,
        classes: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(transforms, **options)
        self.root, self.split = Path(root), split
        self._archive: tuple[int, zipfile.ZipFile] | None = None
        self.paths = self._list_archive() if self.root.suffix == ".zip" else self._list_folder()
        if not self.paths:
            raise DataError(f"{self.root}: no image under {split or '.'!r}. {HINT}")
        names = [path.rpartition("/")[0] for path in self.paths]  # "" for images outside any sub-folder
        found = sorted({name.split("/")[0] for name in names} - {""})
        self.classes = tuple(classes) if classes is not None else tuple(found)
        unknown = sorted(set(found) - set(self.classes))
        if unknown:
            raise DataError(f"{self.root}: folders {unknown[:5]} are none of the {len(self.classes)} given classes")
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.labels = [numbers.get(name.split("/")[0]) for name in names]
        self.prepare_skipping()

    def _list_folder(self) -> list[str]:
        folder = self.root / self.split
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. {HINT}")
        found = []
        for place, folders, files in os.walk(folder, followlinks=True):
            folders.sort()
            inside = Path(place).relative_to(folder)
            found += [(inside / file).as_posix() for file in files if file.lower().endswith(SUFFIXES)]
        return sorted(found)

    def _list_archive(self) -> list[str]:
        prefix = f"{self.split}/" if self.split else ""
        names = [name for name in self._open().namelist() if name.startswith(prefix)]
        return sorted(name.removeprefix(prefix) for name in names if name.lower().endswith(SUFFIXES))

    def _open(self) -> zipfile.ZipFile:
        """The archive, opened once in every process: workers must not share a file position."""
        if self._archive is None or self._archive[0] != os.getpid():
            try:
                self._archive = (os.getpid(), zipfile.ZipFile(self.root))
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{self.root}: not a readable zip archive ({error}). {HINT}") from error
        return self._archive[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}

    def __len__(self) -> int:
        return len(self.paths)

    def sample_name(self, index: int) -> str:
        """Path of the file."""
        return f"{self.root}/{self.split}/{self.paths[index]}" if self.split else f"{self.root}/{self.paths[index]}"

    def load_image(self, index: int) -> tuple[Image.Image, int | None]:
        """The decoded image and its class."""
        path = self.paths[index]
        try:
            if self.root.suffix == ".zip":
                data = self._open().read(f"{self.split}/{path}" if self.split else path)
            else:
                data = (self.root / self.split / path).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.sample_name(index)}: cannot be read ({error}).") from error
        return decode_image(data, self.sample_name(index)), self.labels[index]
