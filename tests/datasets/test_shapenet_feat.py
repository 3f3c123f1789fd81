"""ShapeNet with normals: lists, samples whose three parts belong together, variations made from all stored points."""

import numpy as np
import pytest
import torch

from mae3d.datasets.objects import ShapeNetFeat
from mae3d.datasets.objects.shapenet_feat import build_variations, read_models
from mae3d.datasets.simulators.objects.layouts import write_shapenet_feat
from mae3d.errors import DataError
from tests.oracles import maskfeat3d as oracle


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapenet_feat")
    write_shapenet_feat(folder, 62, points=150)
    assert build_variations(folder) == 62
    return folder


def test_lists_are_joined_for_training(root):
    train, test = read_models(root / "train.txt"), read_models(root / "test.txt")
    assert ShapeNetFeat(root).models == [*train, *test]
    assert ShapeNetFeat(root, whole=False).models == train
    assert ShapeNetFeat(root, "test").models == test
    assert len(train) + len(test) == 62


def test_variations_are_their_definition(root):
    model = read_models(root / "train.txt")[3]
    points = torch.from_numpy(np.load(root / "pointcloud" / f"{model}.npy"))[:, :3].double()
    stored = torch.from_numpy(np.load(root / "sv_k128" / f"{model}.npy"))
    torch.testing.assert_close(stored, oracle.surface(points, 128)[1].float())


def test_points_normals_and_variations_of_a_sample_belong_together(root):
    data = ShapeNetFeat(root, npoints=64)
    sample = data[3]
    stored = torch.from_numpy(np.load(root / "pointcloud" / f"{data.models[3]}.npy"))
    variation = torch.from_numpy(np.load(root / "sv_k128" / f"{data.models[3]}.npy"))
    row = (sample["points"][:, None] == stored[None]).all(-1)  # also: not normalised again
    assert torch.equal(row.sum(1), torch.ones(64, dtype=torch.int64))
    assert torch.equal(sample["variation"], variation[row.long().argmax(1)])
    assert data.classes[sample["label"]] == data.classes[data.synsets.index(data.models[3].split("/")[0])]


def test_an_interrupted_build_goes_on(root):
    model = read_models(root / "train.txt")[0]
    path = root / "sv_k128" / f"{model}.npy"
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError, match=r"sv_k128.*file is missing.*prepare_data\.py shapenet_feat"):
        ShapeNetFeat(root)[0]
    assert build_variations(root) == 1
    assert path.read_bytes() == before


def test_lists_and_variations_that_do_not_fit_are_named(root, tmp_path):
    (tmp_path / "list.txt").write_text("02691156/abc.npy\n02691156/def/model\n")
    assert read_models(tmp_path / "list.txt") == ["02691156/abc", "02691156/def"]
    (tmp_path / "list.txt").write_text("02691156/abc\n02691156-abc.npy\n")
    with pytest.raises(DataError, match=r"line 2: expected SYNSET/ID, found '02691156-abc\.npy'"):
        read_models(tmp_path / "list.txt")
    data = ShapeNetFeat(root, npoints=64)
    path = root / "sv_k128" / f"{data.models[1]}.npy"
    whole = np.load(path)
    np.save(path, whole[:-1])
    with pytest.raises(DataError, match=r"variations of shape \[149\] for 150 points"):
        data[1]
    np.save(path, whole)
