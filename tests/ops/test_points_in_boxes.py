"""Points in boxes against shapely and its written contract."""

from __future__ import annotations

import pytest
import shapely
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import points_in_boxes
from mae3d.ops.reference import points_in_boxes as reference
from mae3d.ops.reference.box_iou import corners_bev
from tests.ops.harness import DEVICES, check_compiles, check_op, generator, hard_clouds, pack, random_cloud


def random_boxes(count: int, seed: int) -> Tensor:
    draw = generator(seed)
    size = 0.2 + 2 * torch.rand(count, 3, generator=draw)
    return torch.cat((torch.rand(count, 3, generator=draw) * 4, size, torch.rand(count, 1, generator=draw) * 7), dim=1)


@pytest.mark.parametrize("device", DEVICES)
def test_equals_shapely(device: str) -> None:
    points, boxes = random_cloud(1, 1300, 1, scale=4.0).double(), random_boxes(25, 2).double()[None]
    got = points_in_boxes(points.to(device), boxes.to(device))
    inside = torch.zeros(1300, 25, dtype=torch.bool)
    for j, box in enumerate(boxes[0]):
        polygon = shapely.Polygon(corners_bev(box[None])[0].numpy())
        flat = torch.from_numpy(shapely.contains_xy(polygon, points[0, :, 0].numpy(), points[0, :, 1].numpy()))
        inside[:, j] = flat & ((points[0, :, 2] - box[2]).abs() <= box[5] / 2)
    first = torch.where(inside.any(1), inside.int().argmax(1), -1)
    assert torch.equal(got.index[0].cpu(), first)
    assert torch.equal(got.counts[0].cpu(), inside.sum(0))


@pytest.mark.parametrize("device", DEVICES)
def test_faces_belong_to_the_box(device: str) -> None:
    box = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 2.0, 1.0, 0.0]]], device=device)
    on = torch.tensor([[3.0, 2, 3], [-1, 3, 3.5], [3.0, 3, 2.5]], device=device)
    assert points_in_boxes(on[None], box).index.eq(0).all()
    off = on + torch.tensor([0.0, 0, 1e-3], device=device) * torch.tensor([[2000.0], [1], [-1]], device=device)
    assert points_in_boxes(off[None], box).index.eq(-1).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", hard_clouds())
def test_hard_clouds(name: str, device: str) -> None:
    points = hard_clouds()[name][None]
    boxes = random_boxes(12, 3)[None]
    boxes[0, 0, 3], boxes[0, 1, 0], boxes[0, 2, 6], boxes[0, 3, 5] = 0, torch.nan, torch.inf, -1
    boxes[0, 4, :6] = torch.tensor([1e6, 1e6, 1e6, 3, 3, 3])
    got = points_in_boxes(points.to(device), boxes.to(device))
    want = reference.points_in_boxes(points, boxes)
    assert torch.equal(got.index.cpu(), want[0])
    assert torch.equal(got.counts.cpu(), want[1])
    assert got.counts[0, :4].eq(0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_packed_equals_dense_per_sample(device: str) -> None:
    clouds = [random_cloud(1, n, n, scale=4.0)[0] for n in (700, 0, 5, 1500)]
    lists = [random_boxes(n, n) for n in (9, 4, 0, 30)]
    (points, points_offsets), (boxes, boxes_offsets) = pack(clouds), pack(lists)
    got = points_in_boxes(
        points.to(device),
        boxes.to(device),
        points_offsets=points_offsets.to(device),
        boxes_offsets=boxes_offsets.to(device),
    )
    for i, (cloud, some) in enumerate(zip(clouds, lists)):
        alone = points_in_boxes(cloud[None], some[None])
        index = got.index[points_offsets[i] : points_offsets[i + 1]].cpu()
        assert torch.equal(index, torch.where(alone.index[0] >= 0, alone.index[0] + boxes_offsets[i], -1))
        assert torch.equal(got.counts[boxes_offsets[i] : boxes_offsets[i + 1]].cpu(), alone.counts[0])


def test_thread_count_traces_and_empty() -> None:
    points, boxes = random_cloud(2, 5000, 1, scale=4.0), torch.stack((random_boxes(70, 1), random_boxes(70, 2)))
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(points_in_boxes(points, boxes))
    assert all(torch.equal(x, y) for x, y in zip(*results))
    assert points_in_boxes(points[:, :0], boxes).counts.eq(0).all()
    assert points_in_boxes(points, boxes[:, :0]).index.eq(-1).all()
    assert points_in_boxes(points[:0], boxes[:0]).index.shape == (0, 5000)
    check_op(torch.ops.mae3d.points_in_boxes.default, (points[:, :50], boxes, None, None))
    check_compiles(points_in_boxes, points[:, :50], boxes)


@pytest.mark.parametrize(
    ("points", "boxes", "message"),
    [
        ((2, 5, 2), (2, 4, 7), "'points' must have shape"),
        ((2, 5, 3), (3, 4, 7), "'boxes' must have shape"),
        ((2, 5, 3), (2, 4, 9), "'boxes' must have shape"),
    ],
)
def test_wrong_input_is_named(points, boxes, message: str) -> None:
    with pytest.raises(OperatorInputError, match=message):
        points_in_boxes(torch.rand(points), torch.rand(boxes))
    with pytest.raises(OperatorInputError, match="give both"):
        points_in_boxes(torch.rand(5, 3), torch.rand(4, 7), points_offsets=torch.tensor([0, 5]))
