"""``python -m mae3d.env``: what is installed, which kernels are used, and why others are not."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys

import torch

import mae3d
import mae3d.ops
from mae3d.ops import _library

OPTIONAL = {
    "h5py": "objects",
    "scikit-learn": "objects",
    "scipy": "reference",
    "numba": "reference",
    "spconv": "sparse",
    "spconv-cu126": "cuda",
    "open3d": "viz",
    "nuscenes-devkit": "nuscenes",
    "av2": "argoverse",
    "mmdet3d": "mmdet3d",
    "mmcv": "mmdet3d",
}
"""Optional distribution -> the extra that brings it."""

CORE = ("numpy", "mmengine", "setuptools", "safetensors", "tensorboard", "matplotlib", "opencv-python")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def kernel_table() -> dict[str, dict[str, bool]]:
    """Operator -> {"cpu": compiled kernel present, "cuda": ...}."""
    return {
        name: {device: _library.has_kernel(name, device) for device in ("cpu", "cuda")}
        for name in sorted(_library.OPERATORS)
    }


def describe() -> str:
    """The whole report as text."""
    lines = [
        f"mae3d        {mae3d.__version__}",
        f"python       {platform.python_version()} ({sys.platform}, {platform.machine()})",
        f"torch        {torch.__version__} (CUDA {torch.version.cuda or 'none'})",
        f"processor    {_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used by torch, "
        f"{torch.backends.cpu.get_cpu_capability()}",
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            p = torch.cuda.get_device_properties(index)
            lines.append(f"gpu {index}        {p.name}, sm_{p.major}{p.minor}, {p.total_memory / 2**30:.0f} GiB")
    else:
        lines.append("gpu          none visible to torch")
    for name, reason in _library.UNAVAILABLE.items():
        lines.append(f"{name} kernels".ljust(13) + ("in use" if reason is None else f"not in use: {reason}"))
    lines += ["", "core packages"]
    lines += [f"  {name:18} {_version(name) or 'MISSING'}" for name in CORE]
    lines += ["", "optional packages"]
    for name, extra in OPTIONAL.items():
        lines.append(f"  {name:18} " + (_version(name) or f'absent: pip install "mae3d[{extra}]"'))
    lines += ["", "operators (compiled kernels; others run their pure-torch form)"]
    for name, devices in kernel_table().items():
        built = ", ".join(device for device, present in devices.items() if present) or "none"
        lines.append(f"  {name:40} {built}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe())
