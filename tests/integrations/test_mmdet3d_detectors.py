"""SST and the sparse encoders inside CenterPoint and SECOND of mmdet3d, as it builds and runs them."""

import pytest
import torch

pytest.importorskip("mmdet3d", reason="mmdet3d is not installed; `make test-mmdet3d` installs it and runs these tests")

from mae3d.integrations.mmdet3d import from_lidar_boxes
from mae3d.ops import box_iou_3d
from tests.integrations import mmdet3d_detectors as detectors

DETECTORS = {"centerpoint": detectors.centerpoint, "second": detectors.second}
COLUMNS = {"centerpoint": 5, "second": 4}
CASES = [(kind, encoder) for kind in DETECTORS for encoder in ("sst", "plain", "residual")]


def losses_of(detector, batch):
    losses = detector(**detector.data_preprocessor(batch, True), mode="loss")
    return detector.parse_losses(losses)


@pytest.mark.parametrize(("kind", "encoder"), CASES)
def test_loss_backward_and_prediction(kind, encoder):
    detector = detectors.build(DETECTORS[kind](encoder))
    batch = detectors.scenes(2, kind, COLUMNS[kind])
    detector.train()
    total, named = losses_of(detector, batch)
    total.backward()
    assert all(torch.isfinite(value) for value in named.values())
    without = [name for name, p in detector.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not without
    encoders = [p for name, p in detector.named_parameters() if "middle_encoder" in name]
    assert len(encoders) > 10
    assert all(p.grad.abs().sum() > 0 for p in encoders)

    detector.eval()
    with torch.no_grad():
        found = detector(**detector.data_preprocessor(batch, False), mode="predict")
    assert len(found) == 2
    for sample in found:
        boxes = sample.pred_instances_3d.bboxes_3d
        assert boxes.tensor.shape[1] == (9 if kind == "centerpoint" else 7)
        assert len(boxes) == len(sample.pred_instances_3d.scores_3d)
        assert torch.isfinite(boxes.tensor).all()


@pytest.mark.parametrize(("kind", "encoder"), [("centerpoint", "sst"), ("second", "plain")])
def test_a_scene_is_learned_by_heart(kind, encoder):
    detector = detectors.build(DETECTORS[kind](encoder))
    for module in detector.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.2  # 0.01 needs more steps than there are here
    batch = detectors.scenes(1, kind, COLUMNS[kind])
    detector.train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    values = []
    for _ in range(60):
        total, _ = losses_of(detector, batch)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10)
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0] / 3
    detector.eval()
    with torch.no_grad():
        found = detector(**detector.data_preprocessor(batch, False), mode="predict")[0].pred_instances_3d
    truth = batch["data_samples"][0].gt_instances_3d
    sure = found.scores_3d > 0.2
    overlap = box_iou_3d(*(from_lidar_boxes(b)[:, :7] for b in (truth.bboxes_3d, found.bboxes_3d[sure])))
    assert (overlap.max(dim=1).values > 0.5).all()
    assert set(found.labels_3d[sure].tolist()) == set(truth.labels_3d.tolist())
