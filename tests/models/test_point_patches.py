import pytest
import torch

from mae3d.models.tokenizers import MiniPointNet, PointPatchTokenizer, cut_patches
from tests.oracles import point_mae as oracle


@pytest.mark.parametrize("skip", [None, 1e-3, 0.2])
def test_patches_equal_brute_force(skip):
    points = torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    patches = cut_patches(points, 24, 16, skip)
    expected, centers = oracle.group(points, 24, 16, skip)
    assert torch.equal(patches.centers, centers)
    assert torch.equal(patches.points, expected)


def test_center_is_its_own_first_neighbour():
    points = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(1))
    patches = cut_patches(points, 8, 4)
    assert not patches.points[:, :, 0].any()
    assert (patches.points.norm(dim=-1).diff(dim=-1) >= 0).all()
    assert torch.equal(points[0][patches.indices[0]] - patches.centers[0, :, None], patches.points[0])


def test_near_origin_points_are_never_centers():
    points = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(2)) * 0.05
    points[:, 0] = 1.0
    centers = cut_patches(points, 20, 4, 1e-3).centers
    assert (centers.square().sum(-1) > 1e-3).all()


def test_batch_does_not_matter():
    points = torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(3))
    whole = cut_patches(points, 8, 4)
    alone = cut_patches(points[2:3], 8, 4)
    assert torch.equal(whole.points[2:3], alone.points)


def test_embedding_equals_convolutions():
    torch.manual_seed(0)
    net = MiniPointNet(24).double().eval()
    net.first[1].running_mean.normal_()
    state = {}
    for ours, official in (("first", "first_conv"), ("second", "second_conv")):
        for name, value in getattr(net, ours).state_dict().items():
            is_convolution = name in ("0.weight", "3.weight")
            state[f"{official}.{name}"] = value[:, :, None] if is_convolution else value
    patches = torch.randn(2, 5, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(net(patches), oracle.embed(patches, state, "", training=False))
    net.train()
    torch.testing.assert_close(net(patches), oracle.embed(patches, state, "", training=True))


def test_half_precision_coordinates_are_grouped_in_float32():
    tokenizer = PointPatchTokenizer(4, 4, 8).eval()
    points = torch.randn(1, 32, 3).bfloat16()
    assert tokenizer(points).coordinates.dtype == torch.float32
