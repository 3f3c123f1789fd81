"""Depth files for images without depth: Depth-Anything-V2, or brightness where no network is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from mae3d.datasets.files import atomic_write
from mae3d.datasets.objects.lifted_images import depth_path, list_images, read_image
from mae3d.datasets.parallel import Progress
from mae3d.errors import DataError, MissingExtraError

DEFAULT_MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
Estimator = Callable[[np.ndarray], np.ndarray]


def spread(depth: np.ndarray) -> np.ndarray:
    """Relative depth [H, W] over 0 .. max(H, W) / 2 pixels, float32; a constant becomes 0.

    A cloud is then half as deep as it is wide, about what the usual range of 0 .. 255 gives an image of 500 pixels.
    """
    low, high = float(depth.min()), float(depth.max())
    scale = max(depth.shape) / 2 / (high - low) if high > low else 0.0
    return ((depth - low) * scale).astype(np.float32)


class DepthAnything:
    """Relative inverse depth (nearer is larger) by a Depth-Anything-V2 network through transformers.

    Args:
        model: Name on the Hugging Face hub, or a folder that holds the weights.
        download: Fetch weights that are not in the local cache.
        device: Where the network runs; None: CUDA where there is one.

    Raises:
        MissingExtraError: transformers is not installed.
        DataError: The weights are not there, or damaged.
    """

    def __init__(self, model: str = DEFAULT_MODEL, *, download: bool = False, device: str | None = None) -> None:
        try:
            from transformers import AutoImageProcessor, AutoModelForDepthEstimation
        except ImportError as error:
            raise MissingExtraError("transformers", "depth", "estimating depth", str(error)) from error
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.processor = AutoImageProcessor.from_pretrained(model, local_files_only=not download, use_fast=False)
            network = AutoModelForDepthEstimation.from_pretrained(model, local_files_only=not download)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            source = DEFAULT_MODEL if Path(model).is_absolute() or Path(model).exists() else model
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(
                f"{model}: the weights of the depth network are not on this machine, or damaged "
                f"({reason}). Fetch them once where there is a network (--download, or: "
                f"hf download {source} --local-dir FOLDER) and name their folder with --depth-model FOLDER; or put "
                "depth files of another source in place."
            ) from error
        self.network = network.to(self.device).eval()

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> float32 [H, W]."""
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        depth: Tensor = self.network(**inputs).predicted_depth.float()
        size = image.shape[:2]
        depth = torch.nn.functional.interpolate(depth[:, None], size, mode="bicubic", align_corners=False)
        return depth[0, 0].cpu().numpy()


def brightness(image: np.ndarray) -> np.ndarray:
    """Smoothed luminance of uint8 [H, W, 3] as a relief, float32 [H, W]: a stand-in, no estimate of depth."""
    grey = torch.from_numpy(image.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]))[None, None]
    for size in (5, 5):
        grey = torch.nn.functional.avg_pool2d(grey, size, 1, size // 2, count_include_pad=False)
    return grey[0, 0].numpy()


def write_depth_files(
    images: Path, depth: Path, make: Callable[[], Estimator], *, progress: Progress | None = None
) -> int:
    """Write the depth files that are missing; returns how many.

    Args:
        images: Folder of images.
        depth: Folder of depth files.
        make: Called once, if any file is missing.
        progress: Called with (done, all).
    """
    names = [name for name in list_images(images) if not depth_path(depth, name).is_file()]
    if not names:
        return 0
    estimate = make()
    for done, name in enumerate(names, start=1):
        values = spread(estimate(read_image(images / name)))
        with atomic_write(depth_path(depth, name)) as file:
            np.save(file, values)
        if progress is not None:
            progress(done, len(names))
    return len(names)
