"""Pictures with depth as coloured clouds: the pre-training data of P3P, and RGB-D images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.files import read_npy, require_file
from mae3d.datasets.images.base import decode_image
from mae3d.datasets.objects.depth_lifting import Intrinsics, lift_pinhole, lift_published
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
DEPTH_SUFFIX = "_img_depth.npy"
"""What replaces the ending of an image in the name of its depth file, in P3P-Lift."""
HINT = (
    "Make depth files with: python tools/prepare_data.py p3p --images {images} --depth-folder {depth} --depth "
    "depth-anything"
)
MEASURED_HINT = "Put the measured depth of each image there, or correct the folder of depth files and their suffix."


def list_images(folder: Path) -> list[str]:
    """Pictures in ``folder`` and below, relative, in alphabetical order.

    Raises:
        DataError: There is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: folder is missing. Set it to the folder of your images.")
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not found:
        raise DataError(f"{folder}: no image with one of the endings {' '.join(IMAGE_SUFFIXES)}.")
    return found


def default_depth_folder(images: Path) -> Path:
    """``train`` -> ``train_depth_v2`` beside it, as published."""
    return images.with_name(images.name + "_depth_v2")


def depth_path(depth: Path, image: str, suffix: str = DEPTH_SUFFIX) -> Path:
    """Depth file of an image: the same place below ``depth``, ``NAME.JPEG`` -> ``NAME_img_depth.npy``."""
    return depth / Path(image).parent / (Path(image).stem + suffix)


def read_image(path: Path) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return np.array(decode_image(require_file(path, "Copy the image again.").read_bytes(), str(path)))


def read_depth_image(path: Path, scale: float, hint: str) -> np.ndarray:
    """float32 [H, W] of a grey image of 8 or 16 bits, divided by ``scale``."""
    try:
        with Image.open(require_file(path, hint)) as image:
            values = np.array(image)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: not a readable depth image ({error}). {hint}") from error
    return values.astype(np.float32) / np.float32(scale)


@DATASETS.register_module()
class LiftedImages(SampleDataset):
    """Images and their depth as clouds of x y z r g b.

    A sample is ``{"points": float32 [N, 6], "index"}`` (and ``label``): at most ``npoints`` of the image's pixels in
    random order, colours normalised, neither centred nor scaled.

    Args:
        images: Folder of images, searched with its sub-folders.
        depth: Folder of depth files in the same arrangement; None: ``images`` + "_depth_v2".
        npoints: Points of a sample at most; None keeps every pixel.
        camera: "published": depth files as P3P-Lift has them, see :func:`lift_published`. "pinhole": measured depth,
            see :func:`lift_pinhole`.
        intrinsics: (fx, fy, cx, cy) in pixels, for "pinhole".
        depth_suffix: What replaces the ending of the image: ``.npy`` files hold float [H, W], others are grey images.
        depth_scale: Values of a depth image to one unit: 1000 for millimetres in metres.
        classes: Names of the classes, where the first folder below ``images`` names the class of a file; "folders"
            takes all such folders in alphabetical order; None for data without labels.
        min_points: A sample with fewer points is an error.
        **options: ``seed`` and ``on_error`` of :class:`SampleDataset`.
    """

    def __init__(
        self,
        images: str | Path,
        depth: str | Path | None = None,
        *,
        npoints: int | None = 100_000,
        camera: Literal["published", "pinhole"] = "published",
        intrinsics: Sequence[float] | None = None,
        depth_suffix: str = DEPTH_SUFFIX,
        depth_scale: float = 1000.0,
        classes: Sequence[str] | str | None = None,
        min_points: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if camera not in ("published", "pinhole"):
            raise ConfigError(f'LiftedImages: camera must be "published" or "pinhole", got {camera!r}')
        if (camera == "pinhole") != (intrinsics is not None) or (intrinsics is not None and len(intrinsics) != 4):
            raise ConfigError(
                f'LiftedImages: intrinsics (fx, fy, cx, cy) belong to camera="pinhole"; got camera={camera!r} and '
                f"intrinsics={intrinsics}"
            )
        if npoints is not None and npoints < 1:
            raise ConfigError(f"LiftedImages: npoints must be at least 1 or None, got {npoints}")
        self.images = Path(images)
        self.depth = default_depth_folder(self.images) if depth is None else Path(depth)
        self.npoints = npoints
        self.intrinsics = None if intrinsics is None else Intrinsics(*intrinsics)
        self.depth_suffix = depth_suffix
        self.depth_scale = depth_scale
        self.min_points = min_points
        self.files = list_images(self.images)
        measured = intrinsics is not None or depth_suffix != DEPTH_SUFFIX
        self.hint = MEASURED_HINT if measured else HINT.format(images=self.images, depth=self.depth)
        self._find_classes(classes)
        self.prepare_skipping()

    def _find_classes(self, classes: Sequence[str] | str | None) -> None:
        folders = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in self.files]
        if classes == "folders":
            classes = sorted({folder for folder in folders if folder})
        elif isinstance(classes, str):
            raise ConfigError(f'LiftedImages: classes must be a list of names, "folders" or None, got {classes!r}')
        self.classes = tuple(classes or ())
        unknown = next((i for i, folder in enumerate(folders) if self.classes and folder not in self.classes), None)
        if unknown is not None:
            raise DataError(
                f"{self.images / self.files[unknown]}: its folder {folders[unknown]!r} is none of the classes "
                f"{self.classes}. Move it or name its class."
            )
        self.labels = [self.classes.index(folder) for folder in folders] if self.classes else None

    def __len__(self) -> int:
        return len(self.files)

    def sample_name(self, index: int) -> str:
        """Path of the image."""
        return str(self.images / self.files[index])

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``."""
        cloud = self.lift(index)
        if len(cloud) < self.min_points:
            raise DataError(
                f"{depth_path(self.depth, self.files[index], self.depth_suffix)}: {len(cloud)} pixels have a depth, "
                f"expected at least {self.min_points}. {self.hint}"
            )
        order = self.random_generator(index).permutation(len(cloud))[: self.npoints]
        sample = {"points": torch.from_numpy(cloud[order]), "index": torch.tensor(int(index), dtype=torch.int64)}
        if self.labels is not None:
            sample["label"] = torch.tensor(self.labels[index], dtype=torch.int64)
        return sample

    def lift(self, index: int) -> np.ndarray:
        """All points of image ``index``, float32 [N, 6]."""
        path = depth_path(self.depth, self.files[index], self.depth_suffix)
        if path.suffix == ".npy":
            depth = read_npy(path, self.hint)
        else:
            depth = read_depth_image(path, self.depth_scale, self.hint)
        image = read_image(self.images / self.files[index])
        if depth.shape != image.shape[:2] or depth.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: {depth.dtype} {list(depth.shape)} is no depth of the image of {list(image.shape[:2])} pixels "
                f"(rows, columns). {self.hint}"
            )
        return lift_published(image, depth) if self.intrinsics is None else lift_pinhole(image, depth, self.intrinsics)
