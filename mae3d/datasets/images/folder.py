"""Folders of images, one sub-folder a class (the layout of ImageNet), or a zip archive of such a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mae3d.datasets.file_tree import FileTree
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
        self.tree = FileTree(root, HINT)
        self.paths = self.tree.names(split, SUFFIXES)
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

    def __len__(self) -> int:
        return len(self.paths)

    def sample_name(self, index: int) -> str:
        """Path of the file."""
        return f"{self.root}/{self.split}/{self.paths[index]}" if self.split else f"{self.root}/{self.paths[index]}"

    def load_image(self, index: int) -> tuple[Image.Image, int | None]:
        """The decoded image and its class."""
        path = f"{self.split}/{self.paths[index]}" if self.split else self.paths[index]
        return decode_image(self.tree.read(path), self.sample_name(index)), self.labels[index]
