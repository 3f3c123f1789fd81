"""Your own clouds: a folder of files, or a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import read_lines, read_npy, read_table, require_file
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.objects.mesh_files import read_obj, read_ply
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS
from mae3d.structures.mesh import Mesh

HINT = "Convert it to .npy [N, 3] if its form is another."
SUFFIXES = (".npy", ".npz", ".ply", ".obj", ".txt", ".csv", ".xyz", ".pts", ".bin")


def read_npz(path: Path, key: str) -> np.ndarray:
    """Array ``key`` of a .npz file."""
    require_file(path, HINT)
    try:
        with np.load(path, allow_pickle=False) as file:
            if key not in file:
                raise DataError(f"{path}: lacks the array {key!r}, it holds {sorted(file)}. Set npz_key.")
            return file[key]
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable .npz file ({error}). {HINT}") from error


def read_floats(path: Path, columns: int) -> np.ndarray:
    """Raw little-endian float32 rows of ``columns`` values."""
    values = np.fromfile(require_file(path, HINT), dtype="<f4")
    if values.size % columns:
        raise DataError(f"{path}: {values.size} float32 values are no rows of {columns}. Set bin_columns.")
    return values.reshape(-1, columns)


@DATASETS.register_module()
class FolderClouds(ObjectDataset):
    """Clouds and meshes of any of .npy .npz .ply .obj .txt .csv .xyz .pts .bin, named by a folder or a list.

    Meshes (.obj, .ply with faces) are sampled uniformly by area, anew in every epoch. Columns 3 to 5 of a cloud count
    as normals if ``use_normals``.

    Args:
        root: Folder; searched with its sub-folders unless ``files`` is given.
        files: Text file with one path a line, relative to ``root``.
        classes: Names of the classes, where the first folder below ``root`` names the class of a file; "folders" takes
            all such folders in alphabetical order; None for data without labels.
        npoints: Points of a sample; clouds with fewer are filled up by repeated points.
        bin_columns: Values of a row of .bin files (4 for KITTI: x y z intensity).
        npz_key: Array of .npz files.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        files: str | Path | None = None,
        *,
        classes: tuple[str, ...] | list[str] | str | None = None,
        npoints: int | None = 1024,
        bin_columns: int = 4,
        npz_key: str = "points",
        **options: Any,
    ) -> None:
        super().__init__(npoints=npoints, **{"normalize": "after", "repeat_points": True, **options})
        if bin_columns < 3:
            raise ConfigError(f"FolderClouds: bin_columns must be at least 3, got {bin_columns}")
        self.root = Path(root)
        self.bin_columns = bin_columns
        self.npz_key = npz_key
        self.files = self._list_files(None if files is None else Path(files))
        folders = [Path(name).parts[0] for name in self.files]
        if classes == "folders":
            classes = sorted({folder for folder, name in zip(folders, self.files) if folder != name})
        elif isinstance(classes, str):
            raise ConfigError(f'FolderClouds: classes must be a list of names, "folders" or None, got {classes!r}')
        self.classes = tuple(classes or ())
        self._labels = self._label_files(folders) if self.classes else None
        self.prepare_skipping()

    def _list_files(self, listing: Path | None) -> list[str]:
        if listing is not None:
            names = read_lines(listing, "Write one path a line, relative to root.")
            other = next((name for name in names if Path(name).suffix.lower() not in SUFFIXES), None)
            if other is not None:
                raise DataError(f"{listing}: {other!r} has none of the endings {' '.join(SUFFIXES)}.")
            return names
        if not self.root.is_dir():
            raise DataError(f"{self.root}: folder is missing. Set root to the folder of your clouds.")
        found = sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not found:
            raise DataError(f"{self.root}: no file with one of the endings {' '.join(SUFFIXES)}.")
        return found

    def _label_files(self, folders: list[str]) -> list[int]:
        place = {name: label for label, name in enumerate(self.classes)}
        for folder, name in zip(folders, self.files):
            if folder not in place:
                raise DataError(f"{self.root / name}: its folder {folder!r} is none of the classes {self.classes}.")
        return [place[folder] for folder in folders]

    def __len__(self) -> int:
        return len(self.files)

    def sample_name(self, index: int) -> str:
        """Path of the file."""
        return str(self.root / self.files[index])

    def load_cloud(self, index: int) -> Cloud:
        """The stored points, or points drawn from the stored surface."""
        points = self._read(index, self.root / self.files[index])
        return Cloud(points, None if self._labels is None else self._labels[index])

    def _read(self, index: int, path: Path) -> np.ndarray:
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return read_npy(path, HINT)
        if suffix == ".npz":
            return read_npz(path, self.npz_key)
        if suffix == ".bin":
            return read_floats(path, self.bin_columns)
        if suffix == ".obj":
            mesh = read_obj(path)
            return self._sample(index, path, mesh) if len(mesh.faces) else mesh.vertices
        if suffix == ".ply":
            points, faces = read_ply(path)
            return points if faces is None else self._sample(index, path, Mesh(points[:, :3], faces))
        return read_table(path, HINT)

    def _sample(self, index: int, path: Path, mesh: Mesh) -> np.ndarray:
        count = 8192 if self.npoints is None else self.npoints
        try:
            surface = mesh.sample_surface(count, self.random_generator(index))
        except DataError as error:
            raise DataError(f"{path}: {error}. {HINT}") from error
        return np.concatenate([surface.points, surface.normals], axis=1)
