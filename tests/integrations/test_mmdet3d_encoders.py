"""Our parts as mmdet3d builds them: beside its own on equal weights, in turned axes, from pre-training files."""

import logging

import pytest
import torch

pytest.importorskip("mmdet3d", reason="mmdet3d is not installed; `make test-mmdet3d` installs it and runs these tests")

from mmdet3d.registry import MODELS

from mae3d.checkpoints import export, save_safetensors
from mae3d.errors import CheckpointError, ConfigError, DataError
from mae3d.integrations.mmdet3d import Mae3dDataPreprocessor, Mae3dSparseEncoder, Mae3dSST, Mae3dVoxelEncoder
from mae3d.models.methods import RMAE, VoxelMAE
from mae3d.models.tokenizers.voxels import DynamicVFE, VoxelTokenizer
from tests.integrations import mmdet3d_detectors as detectors

RANGE, VOXEL = [-12.8, -6.4, -5.0, 12.8, 6.4, 3.0], [0.1, 0.1, 0.2]
PILLAR = [0.4, 0.4, 8.0]


def clouds(count=2, points=3000, columns=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(RANGE[:3]), torch.tensor(RANGE[3:])
    made = []
    for _ in range(count):
        place = torch.rand(points, 3, generator=generator) * (high - low + 1) + low - 0.5
        place[: points // 2] = place[: points // 2] * 0.1  # dense in the middle
        made.append(torch.cat((place, torch.rand(points, columns - 3, generator=generator)), dim=1))
    return made


def voxels_of(points, size=VOXEL):
    return Mae3dDataPreprocessor(RANGE, size).voxelize(points, [])


def random_statistics(module):
    generator = torch.Generator().manual_seed(3)
    for name, value in module.state_dict().items():
        if value.dtype == torch.float32 and value.dim() == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        assert torch.isfinite(value).all(), name


def test_voxels_are_those_of_mmcv_without_its_limits():
    points = clouds()
    ours = voxels_of(points)
    layer = {"max_num_points": 500, "max_voxels": (20000, 20000), "point_cloud_range": RANGE, "voxel_size": VOXEL}
    hard = MODELS.build({"type": "Det3DDataPreprocessor", "voxel": True, "voxel_layer": layer}).voxelize(points, [])
    order = voxel_order(hard["coors"])
    assert torch.equal(hard["coors"][order].long(), ours["coors"].long())
    assert torch.equal(hard["num_points"][order].long(), ours["num_points"])
    encoder = Mae3dVoxelEncoder(RANGE, VOXEL, 5)
    theirs = MODELS.build({"type": "HardSimpleVFE", "num_features": 5})
    mean = theirs(hard["voxels"], hard["num_points"], hard["coors"])[order]
    torch.testing.assert_close(encoder(**named(ours)), mean)
    torch.testing.assert_close(encoder(**named(hard))[order], mean)


def named(batch):
    return {"features": batch["voxels"], "num_points": batch["num_points"], "coors": batch["coors"]}


def voxel_order(coordinates):
    """Rows ascending by (cloud, z, y, x)."""
    cloud, z, y, x = coordinates.long().unbind(1)
    return (((cloud * 1000 + z) * 1000 + y) * 1000 + x).argsort()


@pytest.mark.parametrize("residual", [False, True])
def test_sparse_encoder_equals_that_of_mmdet3d(residual):
    spconv_ops = pytest.importorskip("spconv.pytorch.ops", reason="spconv is not installed")
    batch = voxels_of(clouds())
    ours = Mae3dSparseEncoder(RANGE, VOXEL, 5, residual=residual, residual_bias=False).eval()
    random_statistics(ours)
    options = {}
    if residual:
        options = {
            "encoder_channels": ((16, 16, 32), (32, 32, 64), (64, 64, 128), (128, 128)),
            "encoder_paddings": ((0, 0, 1), (0, 0, 1), (0, 0, [0, 1, 1]), (0, 0)),
            "block_type": "basicblock",
        }
    spconv_ops.get_current_stream = lambda: 0
    shape = {"in_channels": 5, "sparse_shape": [41, 128, 256], "order": ("conv", "norm", "act")}
    theirs = MODELS.build({"type": "SparseEncoder", **shape, **options}).eval()
    # Both list convolutions and norms in the order in which they run.
    for there, here in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True):
        assert there.shape == here.shape
        there.copy_(here)
    features = Mae3dVoxelEncoder(RANGE, VOXEL, 5)(**named(batch))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        expected, found = (encoder(features, batch["coors"], 2) for encoder in (theirs, ours))
    torch.set_num_threads(threads)
    assert found.shape == expected.shape == (2, 256, 16, 32)
    assert found.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert ours.out_channels == 256


def test_sst_sees_the_cells_of_its_own_pretraining():
    """The same map as our tokenizer and backbone give on the same clouds."""
    torch.manual_seed(0)
    points = clouds()
    voxel = Mae3dVoxelEncoder(RANGE, PILLAR, 5, [16, 32]).eval()
    sst = Mae3dSST(RANGE, PILLAR, 32, 1, 4, window=(6, 6, 1)).eval()
    tokenizer = VoxelTokenizer(RANGE, PILLAR, DynamicVFE(5, [16, 32])).eval()
    tokenizer.encoder.load_state_dict(voxel.encoder.state_dict())
    offsets = torch.tensor([0, *map(len, points)]).cumsum(0)
    with torch.no_grad():
        expected = sst.encoder(tokenizer(torch.cat(points), offsets)).to_bev()
        batch = voxels_of(points, PILLAR)
        found = sst(voxel(**named(batch)), batch["coors"], 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["sst", "sparse"])
def test_turned_points_are_encoded_as_if_x_were_ahead(kind):
    """The map of turned modules is the map of plain ones on turned clouds, brought back cell by cell."""
    torch.manual_seed(0)
    size = PILLAR if kind == "sst" else VOXEL
    ahead_range = [RANGE[1], RANGE[0], RANGE[2], RANGE[4], RANGE[3], RANGE[5]]  # x, y -> y, -x; symmetric about 0
    make = {
        "sst": lambda limits, turned: Mae3dSST(limits, size, 32, 1, 4, window=(6, 6, 1), turned=turned),
        "sparse": lambda limits, turned: Mae3dSparseEncoder(limits, size, 32, turned=turned),
    }[kind]
    channels = [16, 32]
    voxel, plain_voxel = (
        Mae3dVoxelEncoder(RANGE if turned else ahead_range, size, 5, channels, turned=turned).eval()
        for turned in (True, False)
    )
    middle, plain = make(RANGE, True).eval(), make(ahead_range, False).eval()
    if kind == "sparse":
        random_statistics(middle)
    plain_voxel.load_state_dict(voxel.state_dict())
    plain.load_state_dict(middle.state_dict())
    points = clouds()
    ahead = [torch.cat((cloud[:, 1:2], -cloud[:, :1], cloud[:, 2:]), dim=1) for cloud in points]
    with torch.no_grad():
        batch = voxels_of(points, size)
        found = middle(voxel(**named(batch)), batch["coors"], 2)
        turned = Mae3dDataPreprocessor(ahead_range, size).voxelize(ahead, [])
        expected = plain(plain_voxel(**named(turned)), turned["coors"], 2)
    height, width = found.shape[2:]
    assert expected.shape[2:] == (width, height)
    assert found.abs().amax() > 0.01
    for row in range(0, height, 3):  # y ahead in mmdet3d's axes: our x
        for column in range(0, width, 3):  # x to the right: our -y
            torch.testing.assert_close(
                found[:, :, row, column], expected[:, :, width - 1 - column, row], atol=1e-4, rtol=1e-4
            )


def test_a_turned_map_has_the_points_where_mmdet3d_looks_for_them():
    point = torch.tensor([[7.0, -3.0, 0.0, 1.0, 1.0]])  # seven metres to the right, three behind
    batch = voxels_of([point], PILLAR)
    voxel = Mae3dVoxelEncoder(RANGE, PILLAR, 5, [16, 32], turned=True).eval()
    sst = Mae3dSST(RANGE, PILLAR, 32, 1, 4, turned=True).eval()
    bev = sst(voxel(**named(batch)), batch["coors"], 1)
    row, column = int((-3.0 - RANGE[1]) / 0.4), int((7.0 - RANGE[0]) / 0.4)
    assert bev.abs().sum(1).nonzero().tolist() == [[0, row, column]]


def test_pretrained_encoders_are_counted_tensor_by_tensor(tmp_path, caplog):
    torch.manual_seed(1)
    source = VoxelMAE(in_channels=5, vfe_channels=(16,), embed_dim=32, depth=1, decoder_depth=1, num_heads=4)
    path = tmp_path / "voxel_mae.safetensors"
    save_safetensors(source.state_dict(), path)
    official = tmp_path / "epoch_200.pth"
    torch.save({"state_dict": export("voxel-mae", source.state_dict()).state}, official)
    for file in (path, official):
        with caplog.at_level(logging.INFO):
            detector = detectors.build(detectors.centerpoint("sst", pretrained=str(file)))
        wanted = source.state_dict()
        loaded = 0
        for theirs, ours in (("pts_voxel_encoder.encoder.", "tokenizer.encoder."), ("pts_middle_encoder.", "")):
            for name, value in detector.state_dict().items():
                if name.startswith(theirs):
                    assert torch.equal(value, wanted[ours + name.removeprefix(theirs)]), name
                    loaded += 1
        assert loaded == sum(name.startswith(("encoder.", "tokenizer.encoder.")) for name in wanted) == 36


def test_r_mae_starts_second(tmp_path):
    torch.manual_seed(1)
    source = RMAE(num_features=4)
    save_safetensors(source.state_dict(), tmp_path / "r_mae.safetensors")
    detector = detectors.build(detectors.second("plain", pretrained=str(tmp_path / "r_mae.safetensors")))
    found = detector.middle_encoder.encoder.state_dict()
    wanted = {name: value for name, value in source.state_dict().items() if name.startswith("encoder.")}
    assert {f"encoder.{name}" for name in found} == wanted.keys()
    assert all(torch.equal(value, wanted[f"encoder.{name}"]) for name, value in found.items())


def test_files_that_do_not_fit_are_refused(tmp_path):
    save_safetensors(RMAE(num_features=5).state_dict(), tmp_path / "five.safetensors")
    path = str(tmp_path / "five.safetensors")
    with pytest.raises(CheckpointError, match=r"another size.*conv_input.0.weight is \[16, 3, 3, 3, 5\]"):
        Mae3dSparseEncoder(RANGE, VOXEL, 4, pretrained=path).init_weights()
    with pytest.raises(CheckpointError, match="lacks"):
        Mae3dSparseEncoder(RANGE, VOXEL, 5, residual=True, pretrained=path).init_weights()
    with pytest.raises(CheckpointError, match=r"holds no tensor named tokenizer.encoder.\*"):
        Mae3dVoxelEncoder(RANGE, PILLAR, 5, [16, 32], pretrained=path).init_weights()
    with pytest.raises(ConfigError, match="no weights to load"):
        Mae3dVoxelEncoder(RANGE, PILLAR, 5, pretrained="any")


def test_wrong_input_is_named():
    with pytest.raises(ConfigError, match=r"point_range and voxel_size alone.*voxel_layer"):
        Mae3dDataPreprocessor(RANGE, VOXEL, voxel_layer={})
    with pytest.raises(DataError, match="none of the 1 points of cloud 1 of the batch"):
        voxels_of([torch.zeros(1, 5), torch.full((1, 5), 100.0)])
    batch = voxels_of(clouds())
    with pytest.raises(ConfigError, match="the voxels hold"):
        Mae3dVoxelEncoder(RANGE, VOXEL, 5)(batch["voxels"][:-1], batch["num_points"], batch["coors"])
    with pytest.raises(ConfigError, match="built for points of 4 columns"):
        Mae3dVoxelEncoder(RANGE, VOXEL, 4)(**named(batch))


def test_an_empty_cloud_in_the_middle_keeps_its_place():
    points = [clouds(1)[0], torch.full((3, 5), 100.0), clouds(1, seed=1)[0]]
    batch = voxels_of(points, PILLAR)
    voxel, sst = Mae3dVoxelEncoder(RANGE, PILLAR, 5, [16, 32]), Mae3dSST(RANGE, PILLAR, 32, 1, 4)
    bev = sst(voxel(**named(batch)), batch["coors"], 3)
    assert bev.shape[0] == 3
    assert bev[1].abs().sum() == 0
    assert bev[2].abs().sum() > 0
