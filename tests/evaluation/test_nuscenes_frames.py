"""The nuScenes metric on frames of a simulated data set: section by section of the benchmark, and the devkit itself."""

import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.lidar.nuscenes_tables import CLASSES
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.errors import ConfigError, DataError
from mae3d.evaluation.nuscenes_frames import NuScenesMetric, attribute_names


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=2, seed=3))
    return root


def truth_as_predictions(index, change=lambda boxes: boxes, seed=None):
    predictions = []
    for number in range(len(index)):
        frame = index.frame(number)
        known = (frame.labels >= 0) & (frame.num_points > 0)  # what nobody can see is not scored
        boxes = torch.from_numpy(frame.boxes[known]).nan_to_num()
        scores = torch.ones(len(boxes), dtype=torch.float64)
        if seed is not None:
            scores = torch.rand(len(boxes), dtype=torch.float64, generator=torch.Generator().manual_seed(seed + number))
        labels = torch.from_numpy(frame.labels[known])
        predictions.append({"boxes": change(boxes), "scores": scores, "labels": labels, "index": number})
    return predictions


def shifted(boxes):
    return boxes + torch.tensor([0.75, 0, 0, 0, 0, 0, 0, 0, 0])


def score(index, predictions, **options):
    metric = NuScenesMetric(index, **options)
    metric.process(predictions)
    return metric.compute()


def test_perfect_and_shifted_detections(simulated):
    index = read_nuscenes(simulated, "mini_val")
    present = {index.classes[label] for label in np.unique(index.labels[index.num_points > 0]) if label >= 0}
    perfect = score(index, truth_as_predictions(index))
    assert perfect["AP_car"] == pytest.approx(1)
    assert perfect["mAP"] <= len(present) / 10 + 1e-9
    moved = score(index, truth_as_predictions(index, shifted))
    assert moved["AP_car"] == pytest.approx(0.75, abs=0.06)
    assert score(index, [])["mAP"] == 0


def test_in_the_evaluator_of_the_runner(simulated):
    index = read_nuscenes(simulated, "mini_val")
    config = {
        "type": NuScenesMetric,
        "dataset": {"type": NuScenes, "root": str(simulated), "split": "mini_val"},
        "collect_device": "cpu",
    }
    evaluator = Evaluator(config)
    predictions = truth_as_predictions(index)
    for number in range(0, len(predictions), 2):
        evaluator.process(predictions[number : number + 2], {})
    results = evaluator.evaluate(len(predictions))
    assert results["nuscenes/AP_car"] == pytest.approx(1)
    assert results["nuscenes/NDS"] == pytest.approx(score(index, predictions)["NDS"])


def test_submission_equals_the_devkit(simulated, tmp_path):
    pytest.importorskip("nuscenes", reason='needs the devkit: pip install "mae3d[nuscenes]"')
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval
    from nuscenes.nuscenes import NuScenes as Devkit

    def noisy(boxes):
        generator = torch.Generator().manual_seed(len(boxes))
        noise = torch.randn(boxes.shape, generator=generator, dtype=boxes.dtype) * 0.3
        noise[:, 3:6] *= 0.1
        return boxes + noise

    index = read_nuscenes(simulated, "mini_val")
    path = tmp_path / "out" / "submission.json"
    ours = score(index, truth_as_predictions(index, noisy, seed=5), submission=path)
    devkit = Devkit("v1.0-mini", str(simulated), verbose=False)
    evaluation = DetectionEval(
        devkit, config_factory("detection_cvpr_2019"), str(path), "mini_val", str(tmp_path), verbose=False
    )
    metrics, _ = evaluation.evaluate()
    official = metrics.serialize()
    assert ours["mAP"] == pytest.approx(official["mean_ap"], abs=1e-6)
    assert ours["NDS"] == pytest.approx(official["nd_score"], abs=1e-6)
    for ours_name, name in (("mATE", "trans_err"), ("mASE", "scale_err"), ("mAOE", "orient_err"), ("mAVE", "vel_err")):
        assert ours[ours_name] == pytest.approx(official["tp_errors"][name], abs=1e-6)
    assert ours["mAAE"] == pytest.approx(official["tp_errors"]["attr_err"], abs=1e-6)


def test_submission_without_the_devkit(simulated, tmp_path):
    index = read_nuscenes(simulated, "mini_val")
    path = tmp_path / "submission.json"
    score(index, truth_as_predictions(index), submission=path)
    content = json.loads(path.read_text())
    assert content["meta"]["use_lidar"] is True
    assert set(content["results"]) == set(index.token)
    record = content["results"][str(index.token[0])][0]
    frame = index.frame(0)
    world = frame.world_from_sensor @ np.append(frame.boxes[0, :3], 1)
    np.testing.assert_allclose(record["translation"], world[:3], atol=1e-6)
    np.testing.assert_allclose(record["size"], frame.boxes[0, [4, 3, 5]])
    assert np.linalg.norm(record["rotation"]) == pytest.approx(1)


def one_frame(labels, boxes):
    return FrameIndex.from_frames(
        "nuscenes",
        CLASSES,
        [
            Frame(
                token="a",
                sequence="s",
                file="f",
                time=0.0,
                world_from_sensor=np.eye(4),
                boxes=boxes,
                labels=labels,
                num_points=np.full(len(labels), 9),
                tracks=[str(n) for n in range(len(labels))],
                box_extra={"attribute": np.full(len(labels), -1)},
                extra={"ego_x": 0.0, "ego_y": 0.0, "ego_z": 0.0},
            )
        ],
    )


def test_cycles_in_racks_are_not_scored():
    rack = [5.0, 0, 0, 6, 2, 2, 0.3, 0, 0]
    inside, outside = [6.0, 0.2, 0, 1.8, 0.6, 1.5, 0, 0, 0], [20.0, 0, 0, 1.8, 0.6, 1.5, 0, 0, 0]
    bicycle = CLASSES.index("bicycle")
    index = one_frame(np.array([-1, bicycle, bicycle]), np.array([rack, inside, outside]))
    found = {"boxes": torch.tensor([outside, inside]), "scores": torch.tensor([0.5, 0.9]), "index": 0}
    result = score(index, [{**found, "labels": torch.tensor([bicycle, bicycle])}])
    assert result["AP_bicycle"] == pytest.approx(1)  # neither missed nor found in the rack


def test_attributes_follow_the_speed():
    labels = np.array([CLASSES.index(name) for name in ("car", "car", "bus", "pedestrian", "bicycle", "barrier")])
    velocity = np.array([[0.1, 0.1], [0.2, 0.1], [0, 0], [0, 0], [3, 0], [3, 0]])
    expected = ["vehicle.parked", "vehicle.moving", "vehicle.stopped", "pedestrian.standing", "cycle.with_rider", ""]
    assert attribute_names(labels, velocity) == expected


def test_more_than_500_boxes_other_classes_and_wrong_fields():
    car = CLASSES.index("car")
    index = one_frame(np.array([car]), np.array([[5.0, 0, 0, 4, 2, 1.5, 0, 0, 0]]))
    boxes = torch.tensor([[5.0, 0, 0, 4, 2, 1.5, 0]]).repeat(600, 1)
    boxes[:-1, 0] = 40.0
    scores = torch.cat((torch.full((599,), 0.1), torch.ones(1)))
    found = {"boxes": boxes, "scores": scores, "labels": torch.zeros(600, dtype=torch.int64), "index": 0}
    assert score(index, [found], classes=["car"])["AP_car"] > 0.98
    with pytest.raises(ConfigError, match="no classes"):
        NuScenesMetric(index, classes=["tank"])
    with pytest.raises(DataError, match="lacks scores"):
        NuScenesMetric(index).process([{"boxes": boxes, "labels": scores, "index": 0}])
    with pytest.raises(DataError, match="frame 3"):
        NuScenesMetric(index).process([{**found, "index": 3}])
