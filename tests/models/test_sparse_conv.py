"""Sparse layers against dense layers, against spconv where it is installed, and their contracts."""

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mae3d.errors import ConfigError, MissingExtraError, OperatorInputError
from mae3d.models.layers import (
    SparseBatchNorm,
    SparseConv2d,
    SparseConv3d,
    SparseInverseConv2d,
    SparseInverseConv3d,
    SparseSequential,
    SubMConv2d,
    SubMConv3d,
    set_sparse_backend,
    sparse_backend,
)
from mae3d.models.layers.sparse_conv import weight_from_spconv1
from mae3d.registry import MODELS
from mae3d.structures import SparseTensor

try:
    import spconv.pytorch  # noqa: F401

    NO_SPCONV = ""
except ImportError as error:
    NO_SPCONV = f'spconv does not import (pip install "mae3d[sparse]"): {error}'
needs_spconv = pytest.mark.skipif(bool(NO_SPCONV), reason=NO_SPCONV)


@pytest.fixture(autouse=True)
def _native_by_default(monkeypatch):
    monkeypatch.delenv("MAE3D_SPARSE_BACKEND", raising=False)
    set_sparse_backend(None)
    torch.manual_seed(0)
    yield
    set_sparse_backend(None)


def scene(channels=4, shape=(9, 16, 14), batch=2, share=0.1):
    g = torch.Generator().manual_seed(1)
    cells = (torch.rand(batch, *shape, generator=g) < share).nonzero().int()
    cells = cells[torch.randperm(len(cells), generator=g)]
    return SparseTensor(torch.randn(len(cells), channels, generator=g), cells, shape, batch)


def encoder(axes=3):
    """The layers of a lidar backbone: submanifold pairs, strided steps, an inverse step."""
    subm, strided, inverse = (
        (SubMConv3d, SparseConv3d, SparseInverseConv3d)
        if axes == 3
        else (SubMConv2d, SparseConv2d, SparseInverseConv2d)
    )
    norm = lambda width: SparseBatchNorm(width, eps=1e-3, momentum=0.01)  # noqa: E731
    return SparseSequential(
        SparseSequential(subm(4, 16, 3, padding=1, bias=False, indice_key="subm1"), norm(16), nn.ReLU()),
        SparseSequential(subm(16, 16, 3, padding=1, bias=False, indice_key="subm1"), norm(16), nn.ReLU()),
        SparseSequential(strided(16, 32, 3, 2, 1, bias=False, indice_key="down"), norm(32), nn.ReLU()),
        subm(32, 32, 3, indice_key="subm2"),
        inverse(32, 8, 3, indice_key="down"),
    )


def dense_encoder(model, x, axes):
    """The same by dense convolutions and masks, float64."""
    conv, transposed = (F.conv3d, F.conv_transpose3d) if axes == 3 else (F.conv2d, F.conv_transpose2d)
    first = (x.replace_features(torch.ones_like(x.features[:, :1])).dense() > 0).double()
    w = {name: value.double() for name, value in model.state_dict().items()}

    def block(dense, mask, name, stride):
        dense = conv(dense, w[f"{name}.0.weight"].movedim(-1, 1), stride=stride, padding=1)
        rows = dense.movedim(1, -1)[mask[:, 0] > 0]
        rows = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-3).sqrt()
        return (
            torch.zeros_like(dense).movedim(1, -1).masked_scatter(mask.movedim(1, -1) > 0, rows).movedim(-1, 1).relu()
        )

    dense = block(block(x.dense().double(), first, "0", 1), first, "1", 1)
    ones = torch.ones(1, 1, *[3] * axes, dtype=torch.float64)
    second = (conv(first, ones, stride=2, padding=1) > 0.5).double()
    dense = block(dense, second, "2", 2)
    dense = conv(dense, w["3.weight"].movedim(-1, 1), w["3.bias"], padding=1) * second
    weight = w["4.weight"].movedim(-1, 0)
    bare = transposed(dense, weight, stride=2, padding=1)
    extra = [want - got for want, got in zip(x.spatial_shape, bare.shape[2:])]
    dense = transposed(dense, weight, w["4.bias"], stride=2, padding=1, output_padding=extra)
    return dense * first


@pytest.mark.parametrize(("axes", "shape"), [(3, (9, 16, 14)), (2, (30, 41))])
def test_a_stack_equals_dense_layers(axes, shape):
    x = scene(shape=shape)
    model = encoder(axes).train()
    result = model(x)
    assert result.coordinates is x.coordinates
    assert result.spatial_shape == x.spatial_shape
    assert sorted(x.rulebooks) == ["down", "subm1", "subm2"]
    torch.testing.assert_close(result.dense().double(), dense_encoder(model, x, axes), rtol=1e-4, atol=1e-5)


def test_parameter_names_and_shapes_are_those_of_spconv_checkpoints():
    model = SparseSequential(
        SubMConv3d(5, 16, 3, padding=1, bias=False, indice_key="a"), SparseBatchNorm(16), nn.ReLU()
    )
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == {
        "0.weight": (16, 3, 3, 3, 5),
        "1.weight": (16,),
        "1.bias": (16,),
        "1.running_mean": (16,),
        "1.running_var": (16,),
        "1.num_batches_tracked": (),
    }
    assert SparseConv3d(64, 128, (3, 1, 1)).weight.shape == (128, 3, 1, 1, 64)
    assert SparseConv2d(8, 9, 3).weight.shape == (9, 3, 3, 8)
    old = torch.randn(3, 2, 1, 5, 7)
    assert torch.equal(weight_from_spconv1(old)[6, :, :, :, 4], old[..., 4, 6])


def test_one_rule_book_per_key_and_kernel():
    x = scene()
    first = SubMConv3d(4, 4, 3, indice_key="a")(x)
    book = x.rulebooks["a"]
    SubMConv3d(4, 4, 3, indice_key="a")(first)
    assert first.rulebooks["a"] is book
    with pytest.raises(ConfigError, match="'a' already belongs"):
        SubMConv3d(4, 4, 5, indice_key="a")(first)
    with pytest.raises(ConfigError, match="'a' already belongs"):
        SubMConv3d(4, 4, 3, indice_key="a")(SparseConv3d(4, 4, 3, 2, 1)(first))
    assert len(x.rulebooks) == 1


def test_faults_name_the_layer():
    x = scene()
    with pytest.raises(ConfigError, match="SubMConv3d: expected 5 channels on 3 axes, got 4"):
        SubMConv3d(5, 4, 3)(x)
    with pytest.raises(ConfigError, match="SubMConv2d: expected 4 channels on 2 axes"):
        SubMConv2d(4, 4, 3)(x)
    with pytest.raises(ConfigError, match="has stride 1"):
        SubMConv3d(4, 4, 3, stride=2)
    with pytest.raises(ConfigError, match="needs the indice_key"):
        SparseInverseConv3d(4, 4, 3)
    with pytest.raises(ConfigError, match="no rule book under indice_key 'down'"):
        SparseInverseConv3d(4, 4, 3, indice_key="down")(x)
    down = SparseConv3d(4, 4, 3, 2, 1, indice_key="down")(x)
    with pytest.raises(ConfigError, match="are not the output of the layer"):
        SparseInverseConv3d(4, 4, 3, indice_key="down")(x)
    with pytest.raises(ConfigError, match="kernel_size"):
        SparseInverseConv3d(4, 4, 2, indice_key="down")(down)
    with pytest.raises(ConfigError, match="channels must be positive"):
        SubMConv3d(0, 4, 3)
    repeated = SparseTensor(torch.ones(2, 4), torch.zeros(2, 4, dtype=torch.int32), (3, 3, 3), 1)
    with pytest.raises(OperatorInputError, match="rows 0 and 1 are the same cell"):
        SubMConv3d(4, 4, 3)(repeated)


def test_gradients_reach_every_parameter_and_copies_are_independent():
    model = encoder()
    twin = copy.deepcopy(model)
    model(scene()).features.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert all(p.grad is None for p in twin.parameters())


def test_no_cells_pass_through_in_training_and_leave_the_statistics():
    x = SparseTensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), (9, 8, 8), 2)
    model = encoder().train()
    result = model(x)
    assert result.features.shape == (0, 8)
    result.features.sum().backward()
    assert torch.equal(model[0][1].running_mean, torch.zeros(16))


def test_batch_norm_of_one_cell_uses_the_running_statistics():
    norm = SparseBatchNorm(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(norm(torch.tensor([[1.0, 2.0, 4.0]])), torch.tensor([[0.0, 0.0, 1.0]]))
    many = torch.randn(50, 3)
    torch.testing.assert_close(norm(many), nn.BatchNorm1d(3)(many))


def test_sequential_hands_the_sparse_tensor_to_modules_that_ask_for_it():
    class Count(nn.Module):
        takes_sparse_tensor = True

        def forward(self, x):
            return x.replace_features(x.features + len(x))

    x = scene()
    assert torch.equal(SparseSequential(Count(), nn.Identity())(x).features, x.features + len(x))
    assert torch.equal(SparseSequential(nn.ReLU())(x.features), x.features.relu())


def test_layers_are_registered_and_print_their_sizes():
    assert MODELS.module_dict["SubMConv3d"] is SubMConv3d
    assert "4, 8, kernel_size=(3, 3, 3)" in repr(SubMConv3d(4, 8, 3, indice_key="a"))


def test_the_backend_switch(monkeypatch):
    assert sparse_backend() == "native"
    monkeypatch.setenv("MAE3D_SPARSE_BACKEND", "spconv")
    assert sparse_backend() == "spconv"
    set_sparse_backend("native")
    assert sparse_backend() == "native"
    with pytest.raises(ConfigError, match="must be one of native, spconv"):
        set_sparse_backend("torch")
    with pytest.raises(ConfigError, match="SubMConv3d: backend must be one of"):
        SubMConv3d(4, 4, 3, backend="cuda")
    set_sparse_backend(None)
    monkeypatch.setenv("MAE3D_SPARSE_BACKEND", "fast")
    with pytest.raises(ConfigError, match="MAE3D_SPARSE_BACKEND must be one of"):
        SubMConv3d(4, 4, 3)(scene())


@pytest.mark.skipif(importlib.util.find_spec("spconv") is not None, reason="spconv is installed")
def test_a_missing_spconv_is_named():
    with pytest.raises(MissingExtraError, match=r'pip install "mae3d\[sparse\]"'):
        SubMConv3d(4, 4, 3, backend="spconv")(scene())


def test_an_spconv_that_does_not_import_is_named(tmp_path):
    (tmp_path / "spconv").mkdir()
    (tmp_path / "spconv" / "__init__.py").write_text("import a_requirement_that_is_not_there")
    program = "from tests.models.test_sparse_conv import *; SubMConv3d(4, 4, 3, backend='spconv')(scene())"
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    last = result.stderr.splitlines()[-1]
    assert "MissingExtraError: backend='spconv' needs the package" in last
    assert "does not import: No module named 'a_requirement_that_is_not_there'" in last


def sorted_rows(x):
    """Features in ascending order of cells."""
    number = x.coordinates[:, 0].long()
    for axis, size in enumerate(x.spatial_shape):
        number = number * size + x.coordinates[:, 1 + axis]
    return x.features[number.argsort()]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_spconv
def test_spconv_is_refused_on_several_cpu_threads():
    layer = SubMConv3d(4, 4, 3, backend="spconv")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ConfigError, match=r"more than one thread.*torch.set_num_threads\(1\)"):
            layer(scene())
    finally:
        torch.set_num_threads(threads)


def compare_backends(axes, shape, device, tolerance):
    model = encoder(axes).to(device)
    results = {}
    for backend in ("native", "spconv"):
        set_sparse_backend(backend)
        x = scene(shape=shape).to(device)
        model.zero_grad()
        inputs = x.features.clone().requires_grad_()
        down = model[:3](x.replace_features(inputs))
        result = model[3:](down)
        weights = torch.randn(result.features.shape, generator=torch.Generator().manual_seed(2)).to(device)
        (sorted_rows(result) * weights).sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        results[backend] = (sorted_rows(down), sorted_rows(result), inputs.grad, gradients)
        assert bool(x.rulebooks) == (backend == "native")
    torch.testing.assert_close(results["native"], results["spconv"], rtol=tolerance, atol=tolerance)


@needs_spconv
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("axes", "shape"), [(3, (9, 16, 14)), (2, (30, 41))])
def test_spconv_gives_the_same_values_and_gradients(axes, shape):
    compare_backends(axes, shape, "cpu", 1e-4)


@needs_spconv
@pytest.mark.gpu
@pytest.mark.parametrize(("axes", "shape"), [(3, (9, 16, 14)), (2, (30, 41))])
def test_spconv_on_a_gpu_gives_the_same_values_and_gradients(axes, shape):
    from spconv.cppconstants import CPU_ONLY_BUILD

    if CPU_ONLY_BUILD:
        pytest.skip("this spconv has no CUDA kernels")
    compare_backends(axes, shape, "cuda", 2e-3)  # its kernels may round products to tf32
