"""Builds the two native libraries of mae3d and packs them into one Python-independent wheel.

Both libraries use libtorch's stable ABI only, so one build serves every CPython and every torch >= 2.10.
Environment variables:
    MAE3D_CUDA            1 build the CUDA library or fail, 0 leave it out, unset: when torch has CUDA and nvcc is found
    TORCH_CUDA_ARCH_LIST  default "8.0;9.0;10.0;12.0+PTX"
    MAE3D_SANITIZE        1 adds the address and undefined-behaviour sanitizers to the CPU library
    MAE3D_JOBS            parallel compiler processes, default: number of cores
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools < 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
DEFAULT_ARCHITECTURES = "8.0;9.0;10.0;12.0+PTX"
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"
COMMON = ["-O3", STABLE_ABI, f"-I{ROOT / 'csrc'}"]
# No contraction: distances must have the same bits on every machine, hence the same ties.
CXX_FLAGS = [
    *COMMON,
    "-std=c++20",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-psabi",  # vectors wider than the baseline's registers never cross a call
]
NVCC_FLAGS = [
    *COMMON,
    "-std=c++20",
    "--expt-relaxed-constexpr",
    "--extended-lambda",
    "-Xcompiler=-fPIC,-fvisibility=hidden",
    "-DUSE_CUDA",
    "-diag-suppress=20012",
]


def torch_root() -> Path:
    """Folder of the torch package whose headers are compiled against, without importing it."""
    candidates = [Path(p) / "torch" for p in sys.path if p]
    # An isolated build hides the environment that is installed into; its torch is the right one.
    candidates += [Path(sysconfig.get_path(kind)) / "torch" for kind in ("purelib", "platlib")]
    for candidate in candidates:
        if (candidate / "include" / "torch" / "csrc" / "stable").is_dir():
            return candidate
    raise SystemExit(
        "mae3d: no torch >= 2.10 found to compile csrc/ against. Install it first (pip install torch), "
        "then: pip install --no-build-isolation ."
    )


def torch_has_cuda(torch: Path) -> bool:
    """Whether the torch at this folder is a CUDA build, read from its version file without importing it."""
    match = re.search(r"^cuda[^=]*=\s*(.+)$", (torch / "version.py").read_text(), re.MULTILINE)
    return match is not None and match.group(1).strip() != "None"


def cuda_compiler(torch: Path) -> str | None:
    """Path of nvcc if the CUDA library is wanted, None if it is left out; says which and why."""
    wish = os.environ.get("MAE3D_CUDA", "auto")
    if wish not in ("0", "1", "auto"):
        raise SystemExit(f"mae3d: MAE3D_CUDA must be 0, 1 or unset, got {wish!r}")
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc") or (shutil.which("nvcc", path=str(Path(home) / "bin")) if home else None)
    if nvcc is None and wish == "1":
        raise SystemExit("mae3d: MAE3D_CUDA=1, but nvcc was not found on PATH nor under CUDA_HOME")
    reason = None
    if wish == "0":
        reason = "MAE3D_CUDA=0"
    elif nvcc is None:
        reason = "no nvcc found"
    elif wish == "auto" and not torch_has_cuda(torch):
        reason = "this torch is a CPU build; MAE3D_CUDA=1 builds them all the same"
    print(f"mae3d: CUDA kernels left out ({reason})" if reason else f"mae3d: CUDA kernels with {nvcc}", flush=True)
    return None if reason else nvcc


def gencode_flags() -> list[str]:
    """nvcc target flags from TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX")."""
    flags = []
    for item in os.environ.get("TORCH_CUDA_ARCH_LIST", DEFAULT_ARCHITECTURES).replace(" ", ";").split(";"):
        if not item:
            continue
        number = item.removesuffix("+PTX").replace(".", "")
        if not number.rstrip("a").isdigit():
            raise SystemExit(f"mae3d: TORCH_CUDA_ARCH_LIST entry {item!r} is not of the form 9.0 or 9.0+PTX")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if item.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


class Compiler:
    """Compiles files whose source, headers or flags changed, then links them into one shared library."""

    def __init__(self, objects: Path) -> None:
        self.objects = objects
        self.headers = max(p.stat().st_mtime for p in (ROOT / "csrc").rglob("*") if p.suffix in (".h", ".cuh"))

    def _run(self, command: list[str]) -> None:
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"mae3d: this command failed:\n{' '.join(command)}\n{result.stdout}{result.stderr}")
        if result.stderr.strip():
            print(result.stderr, file=sys.stderr, flush=True)

    def _compile(self, source: Path, command: list[str]) -> Path:
        target = self.objects / (str(source.relative_to(ROOT / "csrc")).replace(os.sep, "__") + ".o")
        stamp = target.with_suffix(".cmd")
        line = " ".join(command)
        newest = max(source.stat().st_mtime, self.headers)
        if target.exists() and target.stat().st_mtime > newest and stamp.exists() and stamp.read_text() == line:
            return target
        print(f"mae3d: compiling {source.relative_to(ROOT)}", flush=True)
        self._run([*command, "-c", str(source), "-o", str(target)])
        stamp.write_text(line)
        return target

    def build(self, sources: list[Path], compile_command: list[str], link_command: list[str], library: Path) -> None:
        """Compile ``sources`` in parallel and link them into ``library``."""
        self.objects.mkdir(parents=True, exist_ok=True)
        library.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(int(os.environ.get("MAE3D_JOBS", os.cpu_count() or 1))) as pool:
            objects = list(pool.map(lambda source: self._compile(source, compile_command), sources))
        partial = library.with_suffix(f".{os.getpid()}.tmp")
        self._run([*link_command, *map(str, objects), "-o", str(partial)])
        partial.replace(library)
        print(f"mae3d: built {library.name} ({library.stat().st_size / 1e6:.1f} MB)", flush=True)


class BuildNative(build_ext):
    """``build_ext`` that knows one extension: the pair of native libraries."""

    def run(self) -> None:
        package = ROOT if self.inplace else Path(self.build_lib)
        target = package / "mae3d" / "ops" / "_native"
        sanitize = os.environ.get("MAE3D_SANITIZE") == "1"
        work = ROOT / "build" / ("native-sanitize" if sanitize else "native")
        torch = torch_root()
        includes = [f"-isystem{torch / 'include'}", f"-isystem{torch / 'include/torch/csrc/api/include'}"]
        torch_libs = [f"-L{torch / 'lib'}", "-ltorch_cpu"]

        cxx = os.environ.get("CXX", "g++")
        extra = (
            ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-DMAE3D_NO_MULTIVERSION"]
            if sanitize
            else []
        )
        sources = sorted((ROOT / "csrc").glob("*/*_cpu.cpp"))
        Compiler(work / "cpu").build(
            sources,
            [cxx, *CXX_FLAGS, *extra, *includes],
            [cxx, "-shared", *extra, "-Wl,--no-as-needed", *torch_libs],
            target / "libmae3d_cpu.so",
        )
        nvcc = None if sanitize else cuda_compiler(torch)
        if nvcc:
            self._build_cuda(nvcc, work, includes, torch_libs, target)

    def _build_cuda(self, nvcc: str, work: Path, includes: list[str], torch_libs: list[str], target: Path) -> None:
        # libtorch_cuda is absent beside a CPU torch: link against an empty stand-in of that name.
        stand_in = work / "cuda" / "libtorch_cuda.so"
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                os.environ.get("CXX", "g++"),
                "-shared",
                "-Wl,-soname,libtorch_cuda.so",
                "-xc++",
                os.devnull,
                "-o",
                str(stand_in),
            ],
            check=True,
        )
        link = [
            nvcc,
            "-shared",
            "-cudart=static",
            *gencode_flags(),
            f"-L{stand_in.parent}",
            "-Xlinker=--no-as-needed",
            "-ltorch_cuda",
            *torch_libs,
        ]
        nvcc_includes = [flag.replace("-isystem", "-isystem=") for flag in includes]
        sources = sorted((ROOT / "csrc").glob("*/*_cuda.cu"))
        Compiler(work / "cuda").build(
            sources, [nvcc, *NVCC_FLAGS, *gencode_flags(), *nvcc_includes], link, target / "libmae3d_cuda.so"
        )

    def get_outputs(self) -> list[str]:
        return [str(path) for path in Path(self.build_lib).glob("mae3d/ops/_native/*.so")]


class NativeDistribution(Distribution):
    """A distribution with native code but without a Python ABI."""

    def has_ext_modules(self) -> bool:
        return True


class AnyPythonWheel(bdist_wheel):
    """Tags the wheel py3-none-<platform>: the libraries hold no Python symbol."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


EXTRAS = {
    "objects": ["h5py>=3.10", "scikit-learn>=1.4"],
    "images": ["h5py>=3.10", "pyarrow>=15"],
    "video": ["av>=12"],
    "audio": ["soundfile>=0.12", "soxr>=0.4"],
    "text": ["tokenizers>=0.20", "pyarrow>=15"],
    "depth": ["transformers>=4.45"],
    "test": [
        *("pytest>=8", "scipy>=1.11", "numba>=0.61", "hypothesis>=6", "shapely>=2", "pyarrow>=15", "av>=12"),
        *("soundfile>=0.12", "soxr>=0.4", "tokenizers>=0.20"),
    ],
    "dev": ["ruff>=0.6", "build>=1"],
    "sparse": ["spconv==2.3.8"],
    "cuda": ["spconv-cu126==2.3.8"],
    "reference": ["numba>=0.61", "scipy>=1.11"],
    "viz": ["open3d==0.19.0"],
    "rerun": ["rerun-sdk>=0.23"],
    "nuscenes": ["nuscenes-devkit==1.2.0"],
    "argoverse": ["av2==0.3.6", "pyarrow<24"],
    "mmdet3d": ["mmdet3d==1.4.0", "mmdet==3.3.0", "mmcv==2.1.0", "nuscenes-devkit==1.2.0"],
}

setup(
    name="mae3d",
    version="0.1.0",
    description="Masked pre-training for 3D perception",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["mae3d", "mae3d.*"]),
    package_data={"mae3d": ["py.typed"]},
    install_requires=[
        "torch>=2.10,<3",
        "numpy>=1.26",
        "mmengine>=0.10.7,<0.11",
        "setuptools<81",  # mmengine 0.10.7 imports pkg_resources
        "safetensors>=0.4",
        "tensorboard>=2.15",
        "matplotlib>=3.8",
    ],
    extras_require=EXTRAS,
    ext_modules=[Extension("mae3d.ops._native", sources=[])],
    distclass=NativeDistribution,
    cmdclass={"build_ext": BuildNative, "bdist_wheel": AnyPythonWheel},
)
