"""Pictures of object clouds: depth-shaded splats in numpy, sheets and panels laid out by matplotlib, no display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae3d.structures.reconstruction import Reconstruction

Array = np.ndarray | torch.Tensor

GREY = (0.38, 0.42, 0.50)
VISIBLE = (0.15, 0.45, 0.75)
PREDICTED = (0.90, 0.45, 0.13)
# Ten colours that stay apart for colour-blind readers, for parts and classes.
PALETTE = np.array(
    [
        [0.12, 0.47, 0.71], [1.00, 0.50, 0.05], [0.17, 0.63, 0.17], [0.84, 0.15, 0.16], [0.58, 0.40, 0.74],
        [0.55, 0.34, 0.29], [0.89, 0.47, 0.76], [0.50, 0.50, 0.50], [0.74, 0.74, 0.13], [0.09, 0.75, 0.81],
    ]
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """Orthographic camera.

    Attributes:
        center: Point in the middle of the picture [3].
        radius: Half of the picture's side, in data units.
        azimuth: Degrees around the up axis; 0 looks at the +z side (y up) or the -y side (z up).
        elevation: Degrees above the ground plane.
        up: "y" (objects) or "z" (scenes).
    """

    center: tuple[float, float, float]
    radius: float
    azimuth: float = 35.0
    elevation: float = 22.0
    up: str = "y"

    @classmethod
    def around(cls, points: Array, *, azimuth: float = 35.0, elevation: float = 22.0, up: str = "y") -> View:
        """The view that just holds all finite ``points`` [N, 3]."""
        xyz = to_numpy(points)
        xyz = xyz[np.isfinite(xyz).all(axis=1)]
        if not len(xyz):
            return cls((0.0, 0.0, 0.0), 1.0, azimuth, elevation, up)
        low, high = xyz.min(axis=0), xyz.max(axis=0)
        center = (low + high) / 2
        radius = float(np.linalg.norm(xyz - center, axis=1).max())
        return cls(tuple(center.tolist()), 1.05 * radius if radius > 0 else 1.0, azimuth, elevation, up)

    def project(self, points: np.ndarray) -> np.ndarray:
        """[N, 3] -> right, up (both in [-1, 1] within the picture) and depth (towards the viewer) [N, 3]."""
        xyz = (points - np.asarray(self.center)) / self.radius
        if self.up == "z":
            xyz = xyz[:, [0, 2, 1]] * (1, 1, -1)
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        x, y, z = xyz.T
        right, ahead = x * math.cos(a) - z * math.sin(a), x * math.sin(a) + z * math.cos(a)
        return np.stack([right, y * math.cos(e) - ahead * math.sin(e), y * math.sin(e) + ahead * math.cos(e)], axis=1)


def to_numpy(points: Array) -> np.ndarray:
    """float64 copy of the first three columns on the host."""
    if isinstance(points, torch.Tensor):
        points = points.detach().cpu().to(torch.float64).numpy()
    return np.asarray(points, dtype=np.float64)[:, :3]


def render_points(
    points: Array,
    *,
    colors: np.ndarray | tuple[float, float, float] = GREY,
    view: View | None = None,
    size: int = 256,
    splat: float | None = None,
) -> np.ndarray:
    """Picture of a cloud on white: each point a small disc, near ones in front and darker.

    Args:
        points: [N, 3+]; rows that are not finite are left out.
        colors: One RGB colour in [0, 1] or one per point [N, 3].
        view: Camera; by default one that holds the whole cloud.
        size: Side of the picture in pixels.
        splat: Radius of a disc in pixels; by default smaller for denser clouds.

    Returns:
        uint8 [size, size, 3].
    """
    xyz = to_numpy(points)
    image = np.full((size, size, 3), 255, dtype=np.uint8)
    shades = np.broadcast_to(np.asarray(colors, dtype=np.float64), (len(xyz), 3))
    finite = np.isfinite(xyz).all(axis=1)
    xyz, shades = xyz[finite], shades[finite]
    if not len(xyz):
        return image
    right, up, depth = (view or View.around(xyz)).project(xyz).T
    column, row = (right + 1) * (size - 1) / 2, (1 - up) * (size - 1) / 2
    light = 0.65 * np.clip(0.5 - 0.7 * depth, 0, 1)[:, None]  # far points fade towards white
    rgb = shades * (1 - light) + light
    splat = size / 100 * np.clip(math.sqrt(2000 / len(xyz)), 0.6, 1.6) if splat is None else splat
    reach = np.arange(-math.ceil(splat), math.ceil(splat) + 1)
    dy, dx = (grid.ravel() for grid in np.meshgrid(reach, reach, indexing="ij"))
    disc = dx**2 + dy**2 <= splat**2
    order = np.argsort(depth, kind="stable")
    # Painter's order: all pixels of far points come before those of near ones, and the last write stays.
    ys = np.rint(row[order]).astype(np.int64)[:, None] + dy[disc]
    xs = np.rint(column[order]).astype(np.int64)[:, None] + dx[disc]
    inside = (ys >= 0) & (ys < size) & (xs >= 0) & (xs < size)
    painted = np.repeat((rgb[order] * 255).astype(np.uint8)[:, None], int(disc.sum()), axis=1)
    image[ys[inside], xs[inside]] = painted[inside]
    return image


def save_sheet(
    images: Sequence[np.ndarray],
    path: str | Path,
    *,
    titles: Sequence[str] = (),
    columns: int = 6,
    inches: float = 1.8,
) -> Path:
    """Save pictures in a grid with a title above each; returns the path."""
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    height = inches * max((image.shape[0] / image.shape[1] for image in images), default=1.0)
    figure = Figure(figsize=(columns * inches, rows * (height + 0.2)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for index, (axis, image) in enumerate(zip(axes, images)):
        axis.imshow(image)
        if index < len(titles):
            axis.set_title(titles[index], fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def render_reconstruction(
    original: Array, visible: Array, predicted: Array, *, size: int = 256, azimuth: float = 35.0, up: str = "y"
) -> list[np.ndarray]:
    """Three pictures from one camera: the cloud, what the encoder saw, and that with the prediction added.

    Args:
        original: [N, 3].
        visible: Points of the visible patches [V, 3].
        predicted: Points predicted for the masked patches [M, 3].
        size: Side of each picture in pixels.
        azimuth: See :class:`View`.
        up: Axis that points up, "y" or "z".
    """
    view = View.around(original, azimuth=azimuth, up=up)
    seen, filled = to_numpy(visible), to_numpy(predicted)
    both = np.concatenate([seen, filled])
    colors = np.repeat([VISIBLE, PREDICTED], [len(seen), len(filled)], axis=0)
    return [
        render_points(original, view=view, size=size),
        render_points(seen, colors=VISIBLE, view=view, size=size),
        render_points(both, colors=colors, view=view, size=size),
    ]


def save_reconstructions(
    reconstruction: Reconstruction, path: str | Path, *, titles: Sequence[str] = (), limit: int = 8, up: str = "y"
) -> Path:
    """Save a PNG with one row of three pictures for each of the first ``limit`` samples of a batch."""
    images: list[np.ndarray] = []
    captions: list[str] = []
    for index in range(min(limit, len(reconstruction.original))):
        images += render_reconstruction(
            reconstruction.original[index], reconstruction.visible[index], reconstruction.predicted[index], up=up
        )
        captions += [titles[index] if index < len(titles) else f"sample {index}", "visible", "reconstruction"]
    return save_sheet(images, path, titles=captions, columns=3, inches=2.4)
