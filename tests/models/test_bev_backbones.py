"""Encoders of voxel detectors against dense convolutions, and the tensor names that published files hold."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.backbones import (
    SECONDFPN,
    AttachedConvs,
    BaseBEVBackbone,
    VoxelBackBone8x,
    VoxelResBackBone8x,
    bev_map,
)
from mae3d.structures.sparse_tensor import SparseTensor
from mae3d.structures.voxels import VoxelGrid, Voxels

PUBLISHED = {
    "conv_input.0.weight": (16, 3, 3, 3, 4),
    "conv1.0.0.weight": (16, 3, 3, 3, 16),
    "conv2.0.0.weight": (32, 3, 3, 3, 16),
    "conv4.2.0.weight": (64, 3, 3, 3, 64),
    "conv_out.0.weight": (128, 3, 1, 1, 64),
}
PUBLISHED_RESIDUAL = {
    "conv1.0.conv1.weight": (16, 3, 3, 3, 16),
    "conv1.0.bn1.running_mean": (16,),
    "conv4.0.0.weight": (128, 3, 3, 3, 64),
    "conv4.2.conv2.weight": (128, 3, 3, 3, 128),
    "conv_out.0.weight": (128, 3, 1, 1, 128),
}


def some_cells(shape, count, channels, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(batch * shape[0] * shape[1] * shape[2], generator=generator)[:count].sort().values
    z, y, x = shape
    coordinates = torch.stack((keys // (z * y * x), keys // (y * x) % z, keys // x % y, keys % x), dim=1)
    return SparseTensor(torch.randn(count, channels, generator=generator), coordinates.int(), shape, batch)


def dense_reference(model, x):
    """The same network on dense grids, a mask of occupied cells carried along."""

    def occupied(x):
        return torch.ones_like(x.features[:, :1])

    mask = x.replace_features(occupied(x)).dense()
    value = x.dense()

    def apply(part, value, mask):
        if hasattr(part, "conv1"):
            hidden, mask = conv(part.conv1, value, mask)
            hidden, mask = conv(part.conv2, norm(part.bn1, hidden, mask).relu(), mask)
            return (norm(part.bn2, hidden, mask) + value).relu() * mask, mask
        if isinstance(part, nn.Sequential):
            for layer in part:
                value, mask = apply(layer, value, mask)
            return value, mask
        if hasattr(part, "kernel_size"):
            return conv(part, value, mask)
        if hasattr(part, "running_mean"):
            return norm(part, value, mask), mask
        return part(value), mask

    def conv(layer, value, mask):
        weight = layer.weight.movedim(-1, 1)
        if layer.submanifold:
            return F.conv3d(value, weight, layer.bias, padding=1) * mask, mask
        options = {"stride": layer.stride, "padding": layer.padding}
        mask = (F.conv3d(mask, torch.ones(1, 1, *layer.kernel_size), **options) > 0).float()
        return F.conv3d(value, weight, layer.bias, **options) * mask, mask

    def norm(layer, value, mask):
        return F.batch_norm(value, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=1e-3) * mask

    for stage in (model.conv_input, model.conv1, model.conv2, model.conv3, model.conv4, model.conv_out):
        value, mask = apply(stage, value, mask)
    return value


@pytest.mark.parametrize("kind", [VoxelBackBone8x, VoxelResBackBone8x])
def test_equals_dense_convolutions(kind):
    torch.manual_seed(0)
    model = kind(4).eval()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    x = some_cells((41, 16, 24), 300, 4)
    with torch.no_grad():
        out, expected = model(x), dense_reference(model, x)
    assert out.spatial_shape == (2, 2, 3)
    torch.testing.assert_close(out.dense(), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(bev_map(out), out.dense().reshape(2, 256, 2, 3))
    assert model.bev_channels(40) == 256


@pytest.mark.parametrize(("kind", "names"), [(VoxelBackBone8x, PUBLISHED), (VoxelResBackBone8x, PUBLISHED_RESIDUAL)])
def test_names_and_shapes_are_the_published_ones(kind, names):
    state = kind(4).state_dict()
    assert {name: tuple(state[name].shape) for name in names} == names


def test_residual_biases_are_the_sixteen_that_pre_training_lacks():
    with_bias, without = VoxelResBackBone8x(5).state_dict(), VoxelResBackBone8x(5, bias=False).state_dict()
    missing = set(with_bias) - set(without)
    assert len(missing) == 16
    assert all(name.endswith((".conv1.bias", ".conv2.bias")) for name in missing)


def test_stages_halve_the_grid_and_gradients_reach_everything():
    torch.manual_seed(0)
    model = VoxelBackBone8x(4)
    stages = model.stages(some_cells((41, 16, 16), 200, 4))
    sides = [stages[name].spatial_shape for name in ("x_conv1", "x_conv2", "x_conv3", "x_conv4")]
    assert sides == [(41, 16, 16), (21, 8, 8), (11, 4, 4), (5, 2, 2)]
    stages["out"].features.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_voxels_get_a_layer_on_top():
    grid = VoxelGrid((0, 0, 0, 16, 16, 10), (1, 1, 0.25))
    points = torch.rand(50, 3) * torch.tensor([16, 16, 10.0])
    voxels = Voxels.from_points(points, torch.tensor([0, 50]), grid)
    out = VoxelBackBone8x(1).eval()(voxels.replace_features(torch.ones(len(voxels), 1)))
    assert out.spatial_shape == (2, 2, 2)
    assert bev_map(voxels.replace_features(torch.ones(len(voxels), 1))).shape == (1, 40, 16, 16)


def test_second_network():
    model = BaseBEVBackbone(32, (1, 2), (1, 2), (8, 16), (1, 2), (12, 12))
    assert model(torch.randn(2, 32, 8, 12)).shape == (2, 24, 8, 12)
    assert model.out_channels == 24
    state = BaseBEVBackbone(256).state_dict()
    assert state["blocks.0.1.weight"].shape == (128, 256, 3, 3)
    assert state["blocks.1.16.weight"].shape == (256, 256, 3, 3)
    assert state["deblocks.1.0.weight"].shape == (256, 256, 2, 2)
    with pytest.raises(ConfigError, match="one entry per level"):
        BaseBEVBackbone(32, layers=(1,))


def test_coarser_level_and_neck():
    model = BaseBEVBackbone(4, (0,), (1,), (4,), (0.5,), (6,))
    assert model(torch.randn(1, 4, 8, 8)).shape == (1, 6, 4, 4)
    assert SECONDFPN()(torch.randn(1, 128, 5, 5)).shape == (1, 384, 5, 5)
    assert set(SECONDFPN().state_dict()) >= {"deblocks.0.0.weight", "deblocks.0.1.running_mean"}


def test_attached_convolutions():
    torch.manual_seed(0)
    plain, residual = AttachedConvs(8, 8), AttachedConvs(8, 8, residual=(0, 1, 2))
    residual.load_state_dict(plain.state_dict())
    plain.eval(), residual.eval()
    x = torch.randn(1, 8, 9, 9)
    expected = x
    for layer in plain.conv_layer:
        expected = expected + layer(expected)
    torch.testing.assert_close(residual(x), expected)
    assert "conv_layer.2.conv.weight" in plain.state_dict()
    reached = torch.autograd.functional.jacobian(lambda v: plain(v)[0, 0, 4, 4], x)[0, 0].abs().sum(0).nonzero()
    assert reached.min() >= 0
    assert reached.max() == 8  # 1 + 1 + 2 cells to each side of the middle
    with pytest.raises(ConfigError, match="residual"):
        AttachedConvs(8, 16, residual=(0,))
