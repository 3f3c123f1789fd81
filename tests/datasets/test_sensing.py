"""A scanner that skips sectors: which points go, and what is reported as saved."""

import numpy as np
import pytest
import torch

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.lidar import SensingReport, SkipSectors, sensing_table
from mae3d.errors import ConfigError


def ring(count=3600, radius=20.0):
    angle = (torch.arange(count).double() + 0.5) * 2 * torch.pi / count
    return torch.stack((radius * angle.cos(), radius * angle.sin(), angle * 0, angle * 0), dim=1).float()


def test_whole_sectors_go_and_the_count_is_exact():
    skip = SkipSectors(0.8, sector_degrees=10)
    kept = skip({"points": ring()}, np.random.default_rng(0))["points"]
    sectors, counts = skip.sector_of(kept).unique(return_counts=True)
    assert len(sectors) == int((1 - 0.8) * 36)
    assert (counts == 100).all()
    assert skip.report.kept_points == 700
    assert skip.report.points_saved == pytest.approx(1 - 7 / 36)
    assert skip.report.pulses_saved == pytest.approx(1 - 7 / 36) == skip.report.energy_saved


def test_every_scene_of_a_batch_draws_its_own_sectors_and_boxes_stay():
    points = torch.cat((ring(), ring()))
    boxes = torch.zeros(2, 9)
    batch = {"points": points, "offsets": torch.tensor([0, 3600, 3600, 7200]), "boxes": boxes}
    generator = torch.Generator().manual_seed(0)
    result = SkipSectors(0.5, sector_degrees=10)(batch, generator)
    assert result["offsets"].tolist() == [0, 1800, 1800, 3600]
    assert result["boxes"] is boxes
    assert not torch.equal(result["points"][:1800], result["points"][1800:])
    again = SkipSectors(0.5, sector_degrees=10)(batch, torch.Generator().manual_seed(0))
    assert torch.equal(result["points"], again["points"])
    assert len(batch["points"]) == 7200


def test_low_power_pulses_measure_what_is_near():
    points = torch.cat((ring(radius=5.0), ring(radius=50.0)))
    skip = SkipSectors(0.75, sector_degrees=1, near_reach=10, max_range=100)
    kept = skip({"points": points}, np.random.default_rng(0))["points"]
    assert (kept.norm(dim=1) < 10).sum() == 3600
    assert (kept.norm(dim=1) > 10).sum() == 900
    assert skip.report.energy_saved == pytest.approx(0.75 * (1 - 0.1**2))
    assert skip.report.pulses_saved == pytest.approx(0.75)


def test_extremes():
    points = ring(100)
    assert len(SkipSectors(1.0)({"points": points})["points"]) == 0
    assert torch.equal(SkipSectors(0.0)({"points": points})["points"], points)
    assert SkipSectors(0.5)({"points": points[:0]})["points"].shape == (0, 4)
    assert SensingReport().points_saved == SensingReport().energy_saved == 0.0
    with pytest.raises(ConfigError, match="ratio in"):
        SkipSectors(1.5)


def test_it_goes_before_any_detector():
    preprocessor = BatchPreprocessor(test_transforms=[{"type": "SkipSectors", "ratio": 0.5}], seed=0)
    batch = {"points": ring(), "offsets": torch.tensor([0, 3600])}
    assert len(preprocessor(batch, training=False)["points"]) == 1800
    assert len(preprocessor(batch, training=True)["points"]) == 3600
    report = preprocessor.test_transforms[0].report
    assert str(report) == (
        "1 scenes: 50.0% of the points, 50.0% of the full-power pulses and 50.0% of the energy saved"
    )
    table = sensing_table({"all": (SensingReport(), {"mAP": 0.5}), "half": (report, {"mAP": 0.43})})
    assert table.splitlines()[-1] == "| half | 50.0% | 50.0% | 50.0% | 0.43 |"
