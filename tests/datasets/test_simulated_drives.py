"""Simulated drives in memory."""

import pickle

import pytest
import torch

from mae3d.datasets.lidar import SimulatedDrives, collate_packed
from mae3d.errors import ConfigError
from mae3d.ops import points_in_boxes


def test_sweeps_are_repeatable_and_splits_differ():
    first, second = SimulatedDrives(3, columns=180), SimulatedDrives(2, columns=180)
    assert all(torch.equal(first[1][key], second[1][key]) for key in ("points", "boxes", "box_labels"))
    test = SimulatedDrives(3, "test", columns=180)
    assert not torch.equal(first[1]["points"], test[1]["points"])
    assert first.sample_name(1) == "simulated train street 1"
    assert first[0]["points"].shape[1] == 4
    assert len(pickle.dumps(first)) > 0


def test_boxes_hold_the_points_that_they_claim():
    batch = collate_packed([SimulatedDrives(2, columns=360)[number] for number in range(2)])
    assert batch["offsets"].tolist()[-1] == len(batch["points"])
    assert ((batch["box_labels"] >= 0) & (batch["box_labels"] < len(SimulatedDrives.classes))).all()
    start, end = batch["box_offsets"][:2].tolist()
    boxes = batch["boxes"][start:end, :7]
    boxes[:, 3:6] += 0.3  # range noise
    cloud = batch["points"][: batch["offsets"][1], :3]
    found = points_in_boxes(cloud[None].contiguous(), boxes[None].contiguous()).counts[0]
    claimed = batch["box_points"][start:end]
    assert claimed.sum() > 50
    assert (found >= 0.9 * claimed).all()


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="count"):
        SimulatedDrives(0)
    with pytest.raises(ConfigError, match="split"):
        SimulatedDrives(1, "val")
