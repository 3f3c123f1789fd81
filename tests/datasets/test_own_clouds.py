"""Your own clouds: every file type, labels from folders, real meshes, the labelled .npz file."""

import struct

import numpy as np
import pytest
import torch

from mae3d.datasets.objects import FolderClouds, LabelledClouds
from mae3d.datasets.objects.labelled_clouds import split_by_group
from mae3d.datasets.objects.mesh_files import read_obj, read_ply
from mae3d.errors import ConfigError, DataError

CLOUD = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def write_ply(path, kind, faces=()):
    lines = ["ply", f"format {kind} 1.0", "comment made by hand", f"element vertex {len(CLOUD)}"]
    lines += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")] + ["property uchar red"]
    if len(faces):
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    body = b""
    order = ">" if "big" in kind else "<"
    for row in CLOUD:
        values = row.tolist()
        body += (
            (" ".join(map(repr, values)) + " 7\n").encode()
            if kind == "ascii"
            else struct.pack(order + "6fB", *values, 7)
        )
    for face in faces:
        body += (
            (" ".join(map(str, (len(face), *face))) + "\n").encode()
            if kind == "ascii"
            else struct.pack(f"{order}B{len(face)}i", len(face), *face)
        )
    path.write_bytes("\n".join([*lines, "end_header\n"]).encode() + body)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(tmp_path, kind):
    path = tmp_path / "cloud.ply"
    write_ply(path, kind)
    points, faces = read_ply(path)
    np.testing.assert_allclose(points, CLOUD, rtol=1e-6)
    assert faces is None
    write_ply(path, kind, faces=[(0, 1, 2), (3, 4, 5, 6)])
    points, faces = read_ply(path)
    assert faces.tolist() == [[0, 1, 2], [3, 4, 5], [3, 5, 6]]
    np.testing.assert_allclose(points, CLOUD, rtol=1e-6)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cloud.ply: shorter than its header says"):
        read_ply(path)
    path.write_bytes(b"plyx")
    with pytest.raises(DataError, match="not a PLY file"):
        read_ply(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "cat" / "a.npy", CLOUD)
    np.savez(tmp_path / "cat" / "b.npz", points=CLOUD)
    np.savetxt(tmp_path / "cat" / "c.txt", CLOUD)
    np.savetxt(tmp_path / "dog" / "d.csv", CLOUD, delimiter=",")
    np.savetxt(tmp_path / "dog" / "e.xyz", CLOUD[:, :3])
    CLOUD[:48, :4].tofile(tmp_path / "dog" / "f.bin")
    write_ply(tmp_path / "dog" / "g.ply", "ascii")
    (tmp_path / "dog" / "notes.md").write_text("not a cloud")
    return tmp_path


def test_every_file_type_gives_the_same_cloud(folder):
    data = FolderClouds(folder, classes="folders", sampling="all", normalize="never")
    assert data.classes == ("cat", "dog")
    assert [name[-5:] for name in data.files] == ["a.npy", "b.npz", "c.txt", "d.csv", "e.xyz", "f.bin", "g.ply"]
    assert [int(data[i]["label"]) for i in range(7)] == [0, 0, 0, 1, 1, 1, 1]
    for index in range(7):
        rows = 48 if index == 5 else 50
        np.testing.assert_allclose(data[index]["points"], CLOUD[:rows, :3], rtol=1e-5, atol=1e-6)


def test_list_and_labels(folder):
    (folder / "list.txt").write_text("dog/d.csv\ncat/a.npy\n")
    data = FolderClouds(folder, folder / "list.txt", npoints=200)
    assert len(data) == 2
    assert data[0]["points"].shape == (200, 3)
    assert len(data[0]["points"].unique(dim=0)) == 50
    assert "label" not in data[0]
    with pytest.raises(DataError, match="its folder 'dog' is none of the classes"):
        FolderClouds(folder, classes=["cat"])
    with pytest.raises(ConfigError, match='a list of names, "folders" or None'):
        FolderClouds(folder, classes="all")
    (folder / "list.txt").write_text("dog/notes.md\n")
    with pytest.raises(DataError, match=r"'dog/notes.md' has none of the endings"):
        FolderClouds(folder, folder / "list.txt")


def test_errors_of_own_files(folder, tmp_path_factory):
    (folder / "dog" / "f.bin").write_bytes(b"\0" * 30)
    np.savez(folder / "cat" / "b.npz", xyz=CLOUD)
    data = FolderClouds(folder)
    with pytest.raises(DataError, match=r"b.npz: lacks the array 'points', it holds \['xyz'\]. Set npz_key"):
        data[1]
    with pytest.raises(DataError, match=r"f.bin: 7 float32 values are no rows of 4. Set bin_columns"):
        data[5]
    with pytest.raises(DataError, match="Set use_normals=False"):
        FolderClouds(folder, use_normals=True)[4]
    with pytest.raises(DataError, match="no file with one of the endings"):
        FolderClouds(tmp_path_factory.mktemp("empty"))
    with pytest.raises(DataError, match="folder is missing"):
        FolderClouds(folder / "nowhere")


def test_obj_polygons_and_negative_indices(tmp_path):
    path = tmp_path / "square.obj"
    path.write_text("# square\nv 0 0 0\nv 2 0 0\nv 2 3 0\nv 0 3 0\nvn 0 0 1\nf 1//1 2//1 3//1 4//1\nf -4 -3 -2\n")
    mesh = read_obj(path)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert mesh.areas().tolist() == [3, 3, 3]
    data = FolderClouds(tmp_path, npoints=64, use_normals=True)
    assert data[0]["points"].shape == (64, 6)
    torch.testing.assert_close(data[0], data[0])
    path.write_text("v 0 0 0\nf 1 2 3\n")
    with pytest.raises(DataError, match=r"square.obj: mesh: faces refer to vertices 0\.\.2, but there are 1"):
        data[0]
    path.write_text("v 0 zero 0\n")
    with pytest.raises(DataError, match="line 1: 'v 0 zero 0' is malformed"):
        data[0]


@pytest.mark.shared_data
def test_real_meshes(shared_data):
    root = shared_data / "objects" / "meshes"
    data = FolderClouds(root, npoints=500, use_normals=True, normalize="never")
    assert len(data) == 8
    for index in range(8):
        sample = data[index]["points"].numpy()
        mesh = read_obj(root / data.files[index])
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert (sample[:, :3] >= low - 1e-4).all()
        assert (sample[:, :3] <= high + 1e-4).all()
        np.testing.assert_allclose(np.linalg.norm(sample[:, 3:], axis=1), 1, atol=1e-4)
        assert mesh.areas().sum() > 0


@pytest.mark.shared_data
def test_real_labelled_clouds(shared_data):
    path = shared_data / "objects" / "kit_shapes.npz"
    train, test, everything = (LabelledClouds(path, split, npoints=256) for split in ("train", "test", "all"))
    assert len(train) + len(test) == len(everything) > 200
    assert not set(train.rows) & set(test.rows)
    assert len(everything.classes) == 21
    assert set(train.labels[train.rows]) == set(range(21))
    assert 0.1 < len(test) / len(everything) < 0.3
    sample = LabelledClouds(path, npoints=256, use_normals=True)[0]
    np.testing.assert_allclose(sample["points"][:, 3:].norm(dim=1), 1, atol=2e-3)
    assert sample["points"][:, :3].norm(dim=1).max() <= 1 + 1e-5
    whole = LabelledClouds(path, sampling="all")[0]["points"]
    np.testing.assert_allclose(whole.norm(dim=1).max(), 1, atol=1e-5)


def test_variants_of_a_model_stay_together():
    names = [f"pack/{stem}_{suffix}" for stem in ("box", "chair", "lamp", "car") for suffix in ("A", "B", "C")]
    labels = np.zeros(12, dtype=np.int64)
    test = split_by_group(labels, names, 0.5, seed=3)
    assert test.sum() == 6
    assert all(len(set(test[first : first + 3])) == 1 for first in range(0, 12, 3))
    assert not split_by_group(labels[:3], names[:3], 0.5, seed=3).any()


def test_labelled_file_without_classes(tmp_path):
    np.savez(tmp_path / "clouds.npz", points=np.zeros((2, 5, 3)), label=np.zeros(2))
    with pytest.raises(DataError, match="classes is not a file in the archive"):
        LabelledClouds(tmp_path / "clouds.npz")
