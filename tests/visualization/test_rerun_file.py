"""Files of the Rerun viewer: what is in them, and what is said where the package is absent."""

import importlib.util

import pytest
import torch

from mae3d.errors import MissingExtraError
from mae3d.visualization.rerun_file import save_detections, save_scene
from tests.visualization.test_bev import scene

BOXES = torch.tensor([[4.0, 2.0, 0.0, 4.0, 2.0, 2.0, 0.3]])
FOUND = {"boxes": BOXES.repeat(2, 1), "scores": torch.tensor([0.9, 0.1]), "labels": torch.tensor([0, 0])}
INSTALLED = importlib.util.find_spec("rerun") is not None


@pytest.mark.skipif(INSTALLED, reason="rerun-sdk is installed")
def test_the_missing_package_is_named(tmp_path):
    with pytest.raises(MissingExtraError, match=r"mae3d\[rerun\]"):
        save_scene(scene(), tmp_path / "scene.rrd")


@pytest.mark.skipif(not INSTALLED, reason='needs rerun-sdk: pip install "mae3d[rerun]"')
def test_files_hold_what_was_drawn(tmp_path):
    whole = scene().scene(0)
    paths = [
        save_scene(scene(), tmp_path / "a" / "scene.rrd", boxes=BOXES),
        save_detections(whole.points, BOXES, {"tiny": FOUND}, tmp_path / "found.rrd", classes=("car",)),
    ]
    drawn, found = (path.read_bytes() for path in paths)
    for name in ("points", "visible", "predicted"):
        assert f"/scene/{name}:Points3D:positions".encode() in drawn
    for name in ("hidden", "empty", "boxes"):
        assert f"/scene/{name}:Boxes3D:half_sizes".encode() in drawn
    for name in ("truth", "detections/tiny"):
        assert f"/scene/{name}:Boxes3D:quaternions".encode() in found
