import numpy as np
import pytest

from mae3d.errors import DataError
from mae3d.evaluation.nuscenes_detection import (
    CLASSES,
    DISTANCES,
    ERRORS,
    DetectionBoxes,
    NuScenesDetectionMetric,
)

ATTRIBUTES = ["vehicle.moving", "vehicle.parked", "pedestrian.moving", "cycle.with_rider"]


def random_frames(seed: int, frames: int, noise: float = 0.6, ties: bool = False):
    """Ground truth, and predictions that are jittered, duplicated, dropped and invented; ego positions."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(frames):
        ego = rng.uniform(-500, 500, 3)
        count = int(rng.integers(0, 40))
        boxes = np.concatenate(
            (
                ego + rng.uniform(-60, 60, (count, 3)) * [1, 1, 0.02],
                rng.uniform(0.4, 9, (count, 3)),
                rng.uniform(-np.pi, np.pi, (count, 1)),
                rng.normal(0, 4, (count, 2)),
            ),
            axis=1,
        )
        labels = rng.integers(0, len(CLASSES), count)
        attributes = rng.integers(-1, len(ATTRIBUTES), count)
        boxes[rng.random(count) < 0.1, 7:] = np.nan  # velocity unknown
        truth = DetectionBoxes(boxes, labels, attributes, num_points=rng.integers(0, 6, count))

        keep = rng.random(count) < 0.85
        twice = rng.random(count) < 0.3
        source = np.concatenate((np.flatnonzero(keep), np.flatnonzero(twice)))
        invented = int(rng.integers(0, 12))
        moved = np.nan_to_num(boxes[source]) + rng.normal(0, noise, (len(source), 9)) * [
            1,
            1,
            1,
            0.1,
            0.1,
            0.1,
            1,
            1,
            1,
        ]
        extra = np.concatenate((ego + rng.uniform(-60, 60, (invented, 3)), rng.uniform(0.4, 9, (invented, 6))), axis=1)
        predicted = np.concatenate((moved, extra))
        predicted[:, 3:6] = np.abs(predicted[:, 3:6]) + 0.05
        scores = rng.random(len(predicted))
        prediction = DetectionBoxes(
            predicted,
            np.concatenate((labels[source], rng.integers(0, len(CLASSES), invented))),
            rng.integers(0, len(ATTRIBUTES), len(predicted)),
            scores=np.round(scores, 1) if ties else scores,
        )
        result.append((prediction, truth, ego))
    return result


def score(frames):
    metric = NuScenesDetectionMetric()
    for prediction, truth, ego in frames:
        metric.process(prediction, truth, ego)
    return metric.compute()


def devkit_result(frames):
    """The same frames through the official code."""
    pytest.importorskip("nuscenes", reason='needs the devkit: pip install "mae3d[nuscenes]"')
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
    from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics
    from pyquaternion import Quaternion

    config = config_factory("detection_cvpr_2019")

    def convert(boxes: DetectionBoxes, token: str, ego) -> list:
        converted = []
        for i, (x, y, z, length, width, height, yaw, vx, vy) in enumerate(boxes.boxes):
            name = CLASSES[boxes.labels[i]]
            box = DetectionBox(
                sample_token=token,
                translation=(x, y, z),
                size=(width, length, height),
                rotation=tuple(Quaternion(axis=[0, 0, 1], radians=yaw)),
                velocity=(vx, vy),
                ego_translation=(x - ego[0], y - ego[1], z - ego[2]),
                num_pts=-1 if boxes.num_points is None else int(boxes.num_points[i]),
                detection_name=name,
                detection_score=-1.0 if boxes.scores is None else float(boxes.scores[i]),
                attribute_name="" if boxes.attributes[i] < 0 else ATTRIBUTES[boxes.attributes[i]],
            )
            if box.num_pts != 0 and box.ego_dist < config.class_range[name]:
                converted.append(box)
        return converted

    truths, predictions = EvalBoxes(), EvalBoxes()
    for number, (prediction, truth, ego) in enumerate(frames):
        truths.add_boxes(str(number), convert(truth, str(number), ego))
        predictions.add_boxes(str(number), convert(prediction, str(number), ego))
    metrics = DetectionMetrics(config)
    for name in config.class_names:
        curves = {d: accumulate(truths, predictions, name, config.dist_fcn_callable, d) for d in config.dist_ths}
        for d, curve in curves.items():
            metrics.add_label_ap(name, d, calc_ap(curve, config.min_recall, config.min_precision))
        for error in ERRORS:
            undefined = name == "traffic_cone" and error in ("attr_err", "vel_err", "orient_err")
            undefined |= name == "barrier" and error in ("attr_err", "vel_err")
            value = np.nan if undefined else calc_tp(curves[config.dist_th_tp], config.min_recall, error)
            metrics.add_label_tp(name, error, value)
    return metrics


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("noise", [0.05, 0.6, 3.0])
def test_equal_to_the_devkit(noise, ties):
    frames = random_frames(seed=int(noise * 100), frames=60, noise=noise, ties=ties)
    ours, official = score(frames), devkit_result(frames)
    assert ours.mean_ap == pytest.approx(official.mean_ap, abs=1e-9)
    assert ours.nds == pytest.approx(official.nd_score, abs=1e-9)
    for name in CLASSES:
        for d in DISTANCES:
            assert ours.average_precision[name][d] == pytest.approx(official.get_label_ap(name, d), abs=1e-9)
        for error in ERRORS:
            expected = official.get_label_tp(name, error)
            assert ours.class_errors[name][error] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def perfect_frames(frames: int = 30):
    result = []
    for _, truth, ego in random_frames(seed=5, frames=frames):
        boxes = np.nan_to_num(truth.boxes)
        truth = DetectionBoxes(boxes, truth.labels, np.zeros_like(truth.labels), num_points=np.ones_like(truth.labels))
        prediction = DetectionBoxes(boxes.copy(), truth.labels, truth.attributes, scores=np.ones(len(boxes)))
        result.append((prediction, truth, ego))
    return result


def test_predictions_equal_to_the_truth_score_one():
    result = score(perfect_frames())
    assert result.mean_ap == pytest.approx(1.0)
    assert result.nds == pytest.approx(1.0)


def test_shift_of_075_metres_costs_only_the_nearest_threshold():
    lone = np.array([[10.0, 5, 0, 4, 2, 1.5, 0.3, 1, 0]])
    metric = NuScenesDetectionMetric()
    for label in range(len(CLASSES)):
        labels = np.array([label])
        truth = DetectionBoxes(lone, labels, np.zeros(1, dtype=int), num_points=np.ones(1, dtype=int))
        moved = lone + np.array([0.75, 0, 0, 0, 0, 0, 0, 0, 0])
        metric.process(DetectionBoxes(moved, labels, np.zeros(1, dtype=int), scores=np.ones(1)), truth)
    result = metric.compute()
    assert result.mean_ap == pytest.approx(0.75)
    assert result.mean_errors["trans_err"] == pytest.approx(0.75)
    for by_distance in result.average_precision.values():
        assert by_distance == pytest.approx({0.5: 0.0, 1.0: 1.0, 2.0: 1.0, 4.0: 1.0})


def test_turning_all_boxes_round_costs_pi_except_for_barriers():
    frames = [
        (DetectionBoxes(p.boxes + np.eye(9)[6] * np.pi, p.labels, p.attributes, scores=p.scores), t, ego)
        for p, t, ego in perfect_frames()
    ]
    errors = score(frames).class_errors
    assert errors["car"]["orient_err"] == pytest.approx(np.pi)
    assert errors["barrier"]["orient_err"] == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(errors["traffic_cone"]["orient_err"])


def test_monotone_rescaling_of_scores_changes_nothing():
    frames = random_frames(seed=3, frames=40)
    scaled = [
        (DetectionBoxes(p.boxes, p.labels, p.attributes, scores=np.exp(3 * p.scores) - 7), t, ego)
        for p, t, ego in frames
    ]
    assert score(frames).mean_ap == pytest.approx(score(scaled).mean_ap, abs=1e-12)


def test_no_frames_and_no_predictions_score_zero():
    assert NuScenesDetectionMetric().compute().nds == 0.0
    empty = DetectionBoxes(np.zeros((0, 9)), np.zeros(0, int), np.zeros(0, int), scores=np.zeros(0))
    (_, truth, ego), *_ = perfect_frames(1)
    metric = NuScenesDetectionMetric()
    metric.process(empty, truth, ego)
    assert metric.compute().mean_ap == 0.0


def test_wrong_predictions_are_refused():
    box = DetectionBoxes(np.zeros((501, 9)), np.zeros(501, int), np.zeros(501, int), scores=np.zeros(501))
    truth = DetectionBoxes(np.zeros((0, 9)), np.zeros(0, int), np.zeros(0, int), num_points=np.zeros(0, int))
    with pytest.raises(DataError, match="501 predictions, nuScenes allows 500"):
        NuScenesDetectionMetric().process(box, truth)
    one = DetectionBoxes(np.zeros((1, 9)), np.zeros(1, int), np.zeros(1, int), scores=np.array([np.nan]))
    with pytest.raises(DataError, match="not finite"):
        NuScenesDetectionMetric().process(one, truth)
