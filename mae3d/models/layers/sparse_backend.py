"""Which library runs the sparse layers: mae3d's own kernels or the spconv package.

One switch, strongest first: a layer's ``backend=``, :func:`set_sparse_backend`, the environment variable
MAE3D_SPARSE_BACKEND; "native" where none is set. Both take the same weights and give the same values at the same cells.
Of spconv 2.3.8 is to be known:

- on a GPU its float32 products may be rounded to tf32, under autocast it computes in float16 whatever the autocast
  dtype, and for rule book, forward and backward it was slower than the native kernels (docs/benchmarks);
- on a CPU its kernels race when several threads run them;
- it orders the output rows of a strided convolution in its own way and keeps its own rule books, so layers that share
  an indice key must share the back end.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from types import ModuleType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mae3d.errors import ConfigError, MissingExtraError
from mae3d.structures.sparse_tensor import SparseTensor

if TYPE_CHECKING:
    from mae3d.models.layers.sparse_conv import SparseConvolution

BACKENDS = ("native", "spconv")
_ENVIRONMENT = "MAE3D_SPARSE_BACKEND"
_chosen: list[str] = []  # the last value given to set_sparse_backend
_twins: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def check_backend(name: str, source: str) -> str:
    """``name``, or a ConfigError that says where it came from."""
    if name not in BACKENDS:
        raise ConfigError(f"{source} must be one of {', '.join(BACKENDS)}, got {name!r}")
    return name


def set_sparse_backend(name: str | None) -> None:
    """Choose the back end of every sparse layer without one of its own; None returns to the environment's."""
    _chosen[:] = [] if name is None else [check_backend(name, "set_sparse_backend: the back end")]


def sparse_backend() -> str:
    """The back end of layers without one of their own: "native" or "spconv"."""
    if _chosen:
        return _chosen[0]
    return check_backend(os.environ.get(_ENVIRONMENT, "native"), f"environment variable {_ENVIRONMENT}")


@functools.cache
def _import_spconv() -> tuple[ModuleType | None, str]:
    """The spconv package and "", or None and why it cannot be used."""
    if importlib.util.find_spec("spconv") is None:
        return None, ""
    try:
        import spconv.pytorch as module
        import spconv.pytorch.ops
    except ImportError as error:  # its own requirements are incomplete, or its build does not fit
        return None, f"it is installed but does not import: {error}"
    if not torch.cuda.is_available():
        # Its backward asks for the current CUDA stream even where all tensors are on the CPU.
        spconv.pytorch.ops.get_current_stream = lambda: 0
    return module, ""


def resolve_backend(wish: str | None, x: SparseTensor) -> str:
    """The back end, "native" or "spconv", that runs a layer with ``wish`` on ``x``.

    Raises:
        MissingExtraError: spconv is wished for and cannot be imported.
        ConfigError: spconv is wished for where it gives wrong values.
    """
    name = wish or sparse_backend()
    if name == "spconv":
        _check_spconv(x.device.type)
    return name


def _check_spconv(device: str) -> None:
    module, reason = _import_spconv()
    if module is None:
        raise MissingExtraError("spconv", "cuda" if device == "cuda" else "sparse", "backend='spconv'", reason)
    if device == "cpu" and torch.get_num_threads() > 1:
        raise ConfigError(
            "backend='spconv' on the CPU gives wrong values now and then when it runs on more than one thread "
            f"(spconv 2.3.8), and torch has {torch.get_num_threads()}: call torch.set_num_threads(1) or set "
            "OMP_NUM_THREADS=1, or use the native back end"
        )
    if device == "cuda" and torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") != torch.float16:
        raise ConfigError(
            f"backend='spconv' computes in float16 under autocast, which is set to {torch.get_autocast_dtype('cuda')}: "
            "use float16, or the native back end"
        )


def run_spconv(layer: SparseConvolution, x: SparseTensor) -> SparseTensor:
    """Run ``layer`` on ``x`` by spconv, with the layer's own parameters."""
    spconv, _ = _import_spconv()
    assert spconv is not None
    twin = _twins.get(layer)
    if twin is None:
        twin = _twins[layer] = _make_twin(spconv, layer)
    twin.weight, twin.bias = layer.weight, layer.bias
    twin.train(layer.training)
    state = x.backend_state.setdefault("spconv", {})
    if layer.inverse and layer.indice_key not in state:
        raise ConfigError(
            f"{type(layer).__name__}: spconv has no rule book under indice_key {layer.indice_key!r}, there are "
            f"{sorted(state)}; run the strided layer with that key first, on the same back end"
        )
    given = spconv.SparseConvTensor(x.features, x.coordinates, list(x.spatial_shape), x.batch_size, indice_dict=state)
    result = twin(given)
    state.update(result.indice_dict)  # spconv hands out copies
    return SparseTensor(
        result.features,
        result.indices,
        tuple(result.spatial_shape),
        x.batch_size,
        trusted=True,
        rulebooks=x.rulebooks,
        backend_state=x.backend_state,
    )


def _make_twin(spconv: ModuleType, layer: SparseConvolution) -> nn.Module:
    kind = "SubMConv" if layer.submanifold else "SparseInverseConv" if layer.inverse else "SparseConv"
    make = getattr(spconv, f"{kind}{layer.axes}d")
    algorithm = None if layer.weight.is_cuda else spconv.ConvAlgo.Native
    options = {"bias": layer.bias is not None, "indice_key": layer.indice_key, "algo": algorithm}
    sizes = (layer.in_channels, layer.out_channels, list(layer.kernel_size))
    if layer.inverse:
        return make(*sizes, **options)
    return make(*sizes, list(layer.stride), list(layer.padding), list(layer.dilation), **options)
