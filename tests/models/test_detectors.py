"""Whole detectors: modes, a simulated frame learned by heart, pre-trained encoders counted tensor by tensor."""

import pytest
import torch
from safetensors.torch import save_file

from mae3d.checkpoints import load_pretrained
from mae3d.datasets.simulators.driving.scene import build_scene
from mae3d.datasets.simulators.driving.sensors import HDL_32E
from mae3d.datasets.simulators.driving.simulate import record
from mae3d.errors import CheckpointError, ConfigError
from mae3d.models.backbones import SECONDFPN, AttachedConvs, BEVSequential, VoxelBackBone8x
from mae3d.models.heads.detection import AnchorHead, Detector, centerpoint_tiny, presets
from mae3d.models.tokenizers.voxels import MeanVFE, VoxelTokenizer
from mae3d.ops import box_iou_3d
from mae3d.registry import MODELS

PARAMETERS = {
    "second_kitti": 5_325_576,
    "centerpoint_nuscenes": 8_939_222,
    "centerpoint_waymo": 7_758_427,
    "centerpoint_pillar": 5_223_659,
    "second_waymo": 5_326_008,
    "second_once": 5_360_460,
    "second_nuscenes": 5_439_894,
    "centerpoint_kitti": 4_199_083,
    "sst_nuscenes": 2_743_398,
    "sst_centerpoint": 1_933_323,
}


@pytest.fixture(autouse=True)
def one_thread():
    """Convolutions this small spend longer waiting for each other than computing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def frame():
    """One simulated sweep: points x y z intensity, cars with at least 20 points within 24 m."""
    scene = build_scene(seed=4, duration=2.0)
    sweep = next(record(scene, HDL_32E, 1, seed=0))
    boxes = torch.from_numpy(sweep.boxes).float()
    near = (boxes[:, :2].abs() < 24).all(dim=1) & (torch.from_numpy(sweep.num_points) >= 20)
    points = torch.from_numpy(sweep.points[:, :4])
    return points, boxes[near]


def batch_of(frame):
    points, boxes = frame
    return {
        "points": points,
        "offsets": torch.tensor([0, len(points)]),
        "boxes": boxes,
        "box_labels": torch.zeros(len(boxes), dtype=torch.int64),
        "box_offsets": torch.tensor([0, len(boxes)]),
        "index": torch.tensor([7]),
    }


def learn(model, batch, steps, rate):
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        loss = sum(model(**batch, mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def test_a_simulated_frame_is_learned_by_heart(frame):
    torch.manual_seed(0)
    batch = batch_of(frame)
    assert len(batch["boxes"]) >= 4
    model = centerpoint_tiny(classes=("car",), width=24)
    before = model.eval()(**batch, mode="predict")[0]
    (found,) = learn(model, batch, 120, 8e-3)(**batch, mode="predict")
    overlap = box_iou_3d(found["boxes"][:, :7].contiguous(), batch["boxes"][:, :7].contiguous())
    sure = found["scores"] > 0.4
    assert found["index"] == 7
    assert sure.sum() == len(batch["boxes"])
    assert overlap[sure].amax(dim=0).min() > 0.85
    match = overlap[sure].argmax(dim=0)
    velocity = found["boxes"][sure][match, 7:]
    torch.testing.assert_close(velocity, batch["boxes"][:, 7:], atol=0.5, rtol=0.05)
    assert len(before["boxes"]) == 0 or before["scores"].max() < 0.4


def sparse_detector(**options):
    point_range = (-25.6, -25.6, -5.0, 25.6, 25.6, 3.0)
    tokenizer = VoxelTokenizer(point_range, (0.4, 0.4, 0.2), MeanVFE(4))
    encoder = VoxelBackBone8x(4)
    neck = BEVSequential([AttachedConvs(256, 32), SECONDFPN((32,), (32,), (2,))])
    anchors = ({"size": (4.6, 1.9, 1.7), "bottom": -1.8, "positive": 0.5, "negative": 0.35},)
    suppression = {"threshold": 0.2, "before": 500, "after": 100}
    head = AnchorHead(32, ("car",), anchors, (-25.6, -25.6, 25.6, 25.6), velocity=True, suppression=suppression)
    return Detector(tokenizer, encoder, neck, head, **options)


def test_a_sparse_detector_with_anchors_runs_and_learns(frame):
    torch.manual_seed(0)
    batch, model = batch_of(frame), sparse_detector()
    first = model(**batch, mode="loss")
    sum(first.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    last = learn(model, batch, 12, 4e-3).train()(**batch, mode="loss")
    assert sum(last.values()) < 0.6 * sum(first.values())
    assert model(**batch, mode="tensor").shape == (1, 32, 32, 32)
    assert model.extract_features(batch["points"], batch["offsets"]).shape == (1, 32)


def test_batches_equal_their_samples(frame):
    torch.manual_seed(0)
    model = centerpoint_tiny(classes=("car",)).eval()
    points, _ = frame
    half = len(points) // 2
    clouds = [points[:half], points[half:], points[:0]]
    offsets = torch.tensor([0, half, len(points), len(points)])
    together = model(torch.cat(clouds), offsets=offsets)
    for number, cloud in enumerate(clouds):
        alone = model(cloud, offsets=torch.tensor([0, len(cloud)]))
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=1e-4)


def test_loss_without_objects_and_missing_truth(frame):
    batch = batch_of(frame)
    empty = {"boxes": batch["boxes"][:0], "box_labels": batch["box_labels"][:0], "box_offsets": torch.tensor([0, 0])}
    for model in (centerpoint_tiny(), sparse_detector()):
        losses = model(**{**batch, **empty}, mode="loss")
        sum(losses.values()).backward()
        assert all(value.isfinite() for value in losses.values())
        with pytest.raises(ConfigError, match="needs boxes"):
            model(batch["points"], "loss", offsets=batch["offsets"])


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_keep_their_size(name):
    with torch.device("meta"):
        model = MODELS.build({"type": name})
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert model.head.classes == model.classes


def test_what_voxel_mae_learned_is_loaded_whole():
    torch.manual_seed(0)
    pretraining = MODELS.build({"type": "voxel_mae_test"})
    width, depth = pretraining.encoder.embed_dim, pretraining.encoder.num_layers // 2
    columns = pretraining.tokenizer.encoder.in_channels
    detector = MODELS.build(
        {"type": "sst_centerpoint", "in_channels": columns, "embed_dim": width, "encoder": {"depth": depth}}
    )
    ours, theirs = detector.state_dict(), pretraining.state_dict()
    expected = {name for name in ours if name.startswith(("tokenizer.", "encoder."))}
    assert expected == {name for name in theirs if name.startswith(("tokenizer.", "encoder."))}
    assert all(ours[name].shape == theirs[name].shape for name in expected)


@pytest.mark.parametrize("options", [{}, {"head": {"iou": True, "rectify": (0.5, 0.71, 0.65)}}])
def test_sst_detector_runs(frame, options):
    torch.manual_seed(0)
    point_range = (-24, -24, -5, 24, 24, 3)
    encoder = {"depth": 1, "num_heads": 2}
    model = MODELS.build(
        {
            "type": "sst_centerpoint",
            "point_range": point_range,
            "pillar": 1.0,
            "in_channels": 4,
            "embed_dim": 16,
            "encoder": encoder,
            **options,
        }
    )
    batch = batch_of(frame)
    losses = model(**batch, mode="loss")
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert ("loss_iou" in losses) == bool(options)
    (found,) = model.eval()(**batch, mode="predict")
    assert found["boxes"].shape[1] == 7


def test_preset_classes_are_those_of_the_data_sets():
    from mae3d.datasets.lidar.nuscenes_tables import CLASSES

    assert tuple(CLASSES) == presets.NUSCENES_CLASSES
    assert sorted(name for group in presets.NUSCENES_GROUPS for name in group) == sorted(CLASSES)


def test_a_pretrained_encoder_is_loaded_whole_or_not_at_all(tmp_path):
    torch.manual_seed(0)
    pretrained = VoxelBackBone8x(4)
    weights = {f"encoder.{name}": value for name, value in pretrained.state_dict().items()}
    save_file({**weights, "decoder.weight": torch.zeros(3)}, tmp_path / "pretrained.safetensors")
    model = sparse_detector()
    report = load_pretrained(model, tmp_path / "pretrained.safetensors")
    assert set(report.loaded) == set(weights)
    assert report.unused == ("decoder.weight",)
    assert all(name.startswith(("bev_backbone.", "head.")) for name in report.fresh)
    assert len(report.loaded) + len(report.fresh) == len(model.state_dict())
    assert torch.equal(model.encoder.conv_out[0].weight, pretrained.conv_out[0].weight)
    del weights["encoder.conv3.0.0.weight"]
    save_file(weights, tmp_path / "partial.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder.conv3.0.0.weight"):
        load_pretrained(model, tmp_path / "partial.safetensors")
