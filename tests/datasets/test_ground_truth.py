"""Ground-truth database, sampling from it, class-balanced resampling."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mae3d.datasets.lidar import ClassBalanced, Frame, FrameIndex, Kitti, NuScenes, SequenceFolder
from mae3d.datasets.lidar.class_balanced import class_balanced_frames
from mae3d.datasets.lidar.ground_truth import GroundTruthDatabase, build_database, count_points, points_path
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.datasets.transforms.lidar import GroundTruthSampling, RotateScene
from mae3d.errors import ConfigError, DataError
from mae3d.ops import points_in_boxes


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 2, 1, key_frames=2, seed=3))
    return root


@pytest.fixture(scope="module")
def database(simulated):
    return build_database(NuScenes(simulated, "mini_train"), simulated / "objects.npz")


def overlaps(boxes):
    """Pairs of boxes that overlap seen from above, by shapely."""
    shapely = pytest.importorskip("shapely")
    from mae3d.structures.boxes import box_corners_bev

    shapes = [shapely.Polygon(corners) for corners in box_corners_bev(boxes.double()).numpy()]
    return {(i, j) for i in range(len(shapes)) for j in range(i) if shapes[i].intersection(shapes[j]).area > 1e-4}


def test_objects_are_cut_out_of_their_frames(simulated, database):
    data = NuScenes(simulated, "mini_train")
    assert len(database) > 20
    assert (database.counts > 0).all()
    for number in range(0, len(database), 7):
        frame = data.frames.token.tolist().index(database.tokens[number])
        points = database.object_points(number)
        box = torch.from_numpy(database.boxes[number : number + 1, :7]).clone()
        box[:, 3:6] += 1e-3  # rounding at faces
        assert int(points_in_boxes(torch.from_numpy(points)[None, :, :3], box[None]).counts[0, 0]) == len(points)
        rows = {tuple(row) for row in data[frame]["points"].numpy().round(2).tolist()}
        close = sum(tuple(row) in rows for row in points.round(2).tolist())
        assert close > 0.9 * len(points)


def test_workers_change_nothing(simulated, database, tmp_path):
    again = build_database(NuScenes(simulated, "mini_train"), tmp_path / "again.npz", workers=1)
    np.testing.assert_array_equal(again.points, database.points)
    np.testing.assert_array_equal(again.boxes, database.boxes)


def test_an_interrupted_build_goes_on(simulated, database, tmp_path):
    class Counting(NuScenes):
        loaded = 0

        def load(self, index):
            type(self).loaded += 1
            return super().load(index)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    data, path = Counting(simulated, "mini_train"), tmp_path / "objects.npz"
    assert len(data) == 4
    with pytest.raises(KeyboardInterrupt):
        build_database(data, path, progress=stop, frames_per_part=2)
    assert not path.exists()
    Counting.loaded = 0
    again = build_database(data, path, frames_per_part=2)
    assert Counting.loaded == 2  # the first part was whole
    for name in ("points", "offsets", "boxes", "labels", "tokens"):
        np.testing.assert_array_equal(getattr(again, name), getattr(database, name))
    assert not (tmp_path / "objects.parts").exists()

    with pytest.raises(KeyboardInterrupt):
        build_database(data, path, progress=stop, frames_per_part=2)
    Counting.loaded = 0
    two = build_database(Counting(simulated, "mini_train", sweeps=2), path, frames_per_part=2)
    assert Counting.loaded == 4  # parts of other settings are not taken
    assert two.points.shape[1] == again.points.shape[1] + 1


def test_counted_points_are_those_of_the_annotations(shared_data):
    data = SequenceFolder(shared_data / "lidar" / "kitti_drive_0005")
    few = SequenceFolder(shared_data / "lidar" / "kitti_drive_0005")
    few.frames = data.frames.select([0, 3])
    np.testing.assert_array_equal(count_points(few), few.frames.num_points)


@pytest.mark.parametrize("fill_up", [False, True])
def test_pasted_objects_collide_with_nothing(simulated, database, fill_up):
    counts = {"car": 40, "pedestrian": 40, "truck": 5}
    sampling = GroundTruthSampling(database, counts, fill_up=fill_up, min_points=3)
    data = NuScenes(simulated, "mini_val")
    pasted = 0
    for number in range(len(data)):
        sample = data[number]
        present = len(sample["boxes"])
        result = sampling(sample, np.random.default_rng(number))
        before = overlaps(sample["boxes"])
        assert overlaps(result["boxes"]) == before
        added = result["box_labels"][present:]
        pasted += len(added)
        for name, count in counts.items():
            label = data.classes.index(name)
            limit = max(0, count - int((sample["box_labels"] == label).sum())) if fill_up else count
            assert int((added == label).sum()) <= limit
        inside = points_in_boxes(result["points"][None, :, :3].contiguous(), result["boxes"][None, present:, :7])
        # Only its own points are left in a pasted box.
        np.testing.assert_allclose(inside.counts[0], result["box_points"][present:], atol=2)
        assert (result["box_points"][present:] >= 3).all()
    assert pasted > 5


def test_sampling_is_seeded_and_checks_its_settings(simulated, database):
    sample = NuScenes(simulated, "mini_val")[0]
    sampling = GroundTruthSampling(simulated / "objects.npz", {"car": 5})
    first, again = (sampling(sample, np.random.default_rng(2)) for _ in range(2))
    assert torch.equal(first["points"], again["points"])
    assert sampling(sample, np.random.default_rng(3))["points"].shape != first["points"].shape
    with pytest.raises(ConfigError, match=r"no classes \['tram'\]"):
        GroundTruthSampling(database, {"tram": 1})
    with pytest.raises(ConfigError, match="4 columns, the data set of 5"):
        sampling(NuScenes(simulated, "mini_val", sweeps=2)[0], np.random.default_rng(2))
    nothing = GroundTruthSampling(database, {"car": 0})
    assert nothing(sample, np.random.default_rng(0)) is sample


def test_damaged_databases_are_named(simulated, database, tmp_path):
    with pytest.raises(DataError, match="file is missing"):
        GroundTruthDatabase.load(tmp_path / "none.npz")
    path = tmp_path / "objects.npz"
    path.write_bytes((simulated / "objects.npz").read_bytes())
    np.save(points_path(path), np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(DataError, match="3 points stored"):
        GroundTruthDatabase.load(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="not a readable"):
        GroundTruthDatabase.load(path)
    with pytest.raises(ConfigError, match="must not have transforms"):
        build_database(NuScenes(simulated, "mini_train", transforms=[RotateScene()]), path)


def index_of(labels):
    """Index whose frames show the given labels."""
    frames = [
        Frame(
            *(str(n), "drive", f"{n}.bin", float(n), np.eye(4)),
            boxes=np.ones((len(row), 9)),
            labels=np.array(row, dtype=np.int64),
            num_points=np.ones(len(row), dtype=np.int64),
            tracks=[str(i) for i in range(len(row))],
        )
        for n, row in enumerate(labels)
    ]
    return FrameIndex.from_frames("test", ("a", "b", "c"), frames)


def test_classes_are_drawn_equally_often():
    # No frame shows two classes, so that counts are those of the draws alone.
    labels = [[0, 0]] * 90 + [[1]] * 9 + [[2, -1]] * 3
    drawn = class_balanced_frames(index_of(labels), seed=1)
    counts = np.bincount(np.array([0] * 90 + [1] * 9 + [2] * 3)[drawn])
    assert counts.min() >= 33  # of 34: floor of a rounded product
    assert counts.max() <= 34
    np.testing.assert_array_equal(drawn, class_balanced_frames(index_of(labels), seed=1))
    assert (drawn != class_balanced_frames(index_of(labels), seed=2)).any()
    with pytest.raises(DataError, match="no frame shows"):
        class_balanced_frames(index_of([[-1]]))


def test_resampled_data_set(simulated):
    inner = NuScenes(simulated, "mini_train", transforms=[RotateScene()])
    data = ClassBalanced(inner, seed=0)
    assert data.classes == inner.classes
    numbers = data.numbers.tolist()
    twice = next(n for n in range(len(numbers)) if numbers.index(numbers[n]) != n)
    first, second = data[numbers.index(numbers[twice])], data[twice]
    assert first["index"] == second["index"]
    assert not torch.equal(first["points"], second["points"])  # augmented in two ways
    assert torch.equal(data[twice]["points"], second["points"])
    data.set_epoch(1)
    assert not torch.equal(data[twice]["points"], second["points"])
    data.set_epoch(0)
    loaded = next(iter(DataLoader(data, batch_size=None, sampler=[twice], num_workers=1)))
    assert torch.equal(loaded["points"], second["points"])
    assert data.sample_name(second["index"]).endswith(".pcd.bin")


def test_kitti_objects(shared_data, tmp_path):
    data = Kitti(shared_data / "lidar" / "kitti_object", "training")
    found = build_database(data, tmp_path / "kitti.npz")
    assert sorted(zip(found.labels.tolist(), found.counts.tolist())) == [(0, 9), (0, 67), (1, 377), (2, 18)]
