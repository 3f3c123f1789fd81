"""Data sets made of others: parts told apart by labels, boxes cut out of drives, a range as the cube of voxels."""

import pytest
import torch

from mae3d.datasets import LabelledParts
from mae3d.datasets.lidar import BoxCrops, SimulatedDrives, collate_packed
from mae3d.datasets.objects import SimulatedObjects, collate_clouds
from mae3d.datasets.transforms.lidar import FitRange
from mae3d.engine.sampling import SampleKey
from mae3d.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def drives():
    return SimulatedDrives(3, columns=180)


def test_the_label_is_the_number_of_the_part():
    parts = [SimulatedObjects(count=count, npoints=16, stored_points=32, seed=count) for count in (3, 1, 4)]
    whole = LabelledParts(parts)
    assert [int(whole[number]["label"]) for number in range(len(whole))] == [0, 0, 0, 1, 2, 2, 2, 2]
    assert [int(whole[number]["index"]) for number in range(len(whole))] == list(range(8))
    for seed in (5, 6):
        assert torch.equal(whole[SampleKey(6, seed)]["points"], parts[2][SampleKey(2, seed)]["points"])
    assert not torch.equal(whole[SampleKey(6, 5)]["points"], whole[SampleKey(6, 6)]["points"])
    assert whole.sample_name(3) == f"part 1: {parts[1].sample_name(0)}"
    with pytest.raises(IndexError):
        whole[8]
    with pytest.raises(ConfigError, match=r"needs parts with samples, got parts of \[\]"):
        LabelledParts([])


def test_crops_are_the_points_around_boxes(drives):
    crops = BoxCrops(drives, size=5.0, min_points=10, frames=(1, 3))
    expected = []
    for frame in (1, 2):
        sample = drives[frame]
        for box, label in zip(sample["boxes"].tolist(), sample["box_labels"].tolist()):
            kept = [
                (x - box[0], y - box[1], z)
                for x, y, z, _ in sample["points"].tolist()
                if abs(x - box[0]) <= 2.5 and abs(y - box[1]) <= 2.5
            ]
            if len(kept) >= 10:
                expected.append((label, torch.tensor(kept)))
    assert len(crops) == len(expected) > 5
    for number, (label, xyz) in enumerate(expected):
        sample = crops[number]
        assert sample["label"] == label
        torch.testing.assert_close(sample["points"][:, :3], xyz, atol=1e-5, rtol=0)
    assert crops.sample_name(0) == f"simulated train street 1 ({drives.classes[expected[0][0]]})"
    batch = collate_clouds([crops[0], crops[1]])
    assert batch["offsets"].tolist() == [0, len(expected[0][1]), len(expected[0][1]) + len(expected[1][1])]
    with pytest.raises(DataError, match=r"no box with 100000 points in frames \(0, 2\) of 3"):
        BoxCrops(drives, min_points=100000, frames=(0, 2))
    with pytest.raises(ConfigError, match="size must be above 0"):
        BoxCrops(drives, size=0)


def test_a_range_becomes_the_cube(drives):
    batch = collate_packed([drives[0], drives[1]])
    fitted = FitRange((-20, -10, -3, 20, 10, 1))(batch)
    clouds = batch["points"].split(batch["offsets"].diff().tolist())
    expected = [
        torch.tensor(
            [
                (x / 20, y / 10, (z + 1) / 2)
                for x, y, z, _ in cloud.tolist()
                if -20 <= x < 20 and -10 <= y < 10 and -3 <= z < 1
            ]
        )
        for cloud in clouds
    ]
    assert [len(cloud) for cloud in expected] == fitted["offsets"].diff().tolist()
    torch.testing.assert_close(fitted["points"], torch.cat(expected), atol=1e-6, rtol=0)
    assert fitted["points"].abs().max() <= 1
    assert torch.equal(fitted["boxes"], batch["boxes"])
    with pytest.raises(ConfigError, match="point_range must be"):
        FitRange((0, 0, 0, 1, 1, 0))
