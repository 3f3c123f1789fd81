"""Images lifted by depth: the published form, a pinhole camera, files that are wrong, depth files, augmentations."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from PIL import Image

from mae3d.datasets.objects import LiftedImages, collate_clouds
from mae3d.datasets.objects.depth_estimation import DepthAnything, brightness, write_depth_files
from mae3d.datasets.objects.depth_lifting import Intrinsics, lift_pinhole, lift_published
from mae3d.datasets.transforms import FitUnitBall, RandomMirrorX, RotateZ, ScaleInsideBall
from mae3d.errors import ConfigError, DataError, MissingExtraError
from tools import prepare_data


@pytest.fixture
def folder(tmp_path):
    """Two classes of two 12 x 20 images with depth as published."""
    random = np.random.default_rng(0)
    for name in ("cat/a.JPEG", "cat/b.png", "dog/c.jpg", "dog/d.JPEG"):
        image = tmp_path / "train" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (12, 20, 3), dtype=np.uint8)).save(image)
        depth = tmp_path / "train_depth_v2" / name.split(".")[0]
        depth.parent.mkdir(parents=True, exist_ok=True)
        np.save(f"{depth}_img_depth.npy", random.uniform(0, 60, (12, 20)).astype(np.float32))
    return tmp_path / "train"


def test_published_lifting_of_one_pixel_each() -> None:
    """Against the formula, pixel by pixel: F = 300 here, 256 for small images."""
    random = np.random.default_rng(1)
    for height, width, scale in ((300, 7, 300), (4, 5, 256)):
        image = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        depth = random.uniform(0, 90, (height, width))
        cloud = lift_published(image, depth)
        mean = (depth / scale).mean()
        assert cloud.dtype == np.float32
        for row, column in ((0, 0), (height - 1, width - 1), (2, 3)):
            wanted = [column / scale, -(depth[row, column] / scale - mean) + mean, (height - 1 - row) / scale]
            color = (image[row, column] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            np.testing.assert_allclose(cloud[row * width + column], [*wanted, *color], rtol=1e-5, atol=1e-6)


def test_pinhole_points_project_back_onto_their_pixels() -> None:
    camera = Intrinsics(50.0, 60.0, 9.5, 5.5)
    depth = np.random.default_rng(0).uniform(0.5, 4.0, (12, 20))
    depth[0, 0], depth[3, 4] = 0.0, np.nan
    cloud = lift_pinhole(np.zeros((12, 20, 3), dtype=np.uint8), depth, camera)
    x, y, z = cloud[:, :3].T
    assert len(cloud) == 12 * 20 - 2
    column, row = x / y * camera.fx + camera.cx, camera.cy - z / y * camera.fy
    np.testing.assert_allclose(depth[np.rint(row).astype(int), np.rint(column).astype(int)], y, rtol=1e-5)


def test_samples(folder) -> None:
    data = LiftedImages(folder, npoints=100, classes="folders")
    assert len(data) == 4
    assert data.classes == ("cat", "dog")
    assert [int(data[i]["label"]) for i in range(4)] == [0, 0, 1, 1]
    sample = data[1]
    assert sample["points"].shape == (100, 6)
    assert torch.equal(sample["points"], LiftedImages(folder, npoints=100)[1]["points"])
    data.set_epoch(1)
    assert not torch.equal(sample["points"], data[1]["points"])
    every = LiftedImages(folder)[1]["points"]
    assert every.shape == (240, 6)
    assert {tuple(row) for row in sample["points"].tolist()} <= {tuple(row) for row in every.tolist()}
    batch = collate_clouds([data[0], LiftedImages(folder, classes="folders")[3]])
    assert batch["offsets"].tolist() == [0, 100, 340]
    assert batch["label"].tolist() == [0, 1]


def test_rgbd_with_grey_depth_images(folder) -> None:
    for path in folder.rglob("*.*"):
        depth = folder.with_name("depth") / path.parent.name / f"{path.stem}.png"
        depth.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 20), 1500, dtype=np.uint16)).save(depth)
    camera = {"camera": "pinhole", "intrinsics": (20.0, 20.0, 9.5, 5.5), "depth_suffix": ".png"}
    points = LiftedImages(folder, folder.with_name("depth"), **camera)[0]["points"]
    assert torch.equal(points[:, 1], torch.full((240,), 1.5))
    with pytest.raises(ConfigError, match="belong to camera"):
        LiftedImages(folder, camera="pinhole")
    (folder.with_name("depth") / "cat" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: file is missing\. Put the measured depth of each image there"):
        LiftedImages(folder, folder.with_name("depth"), **camera)[0]
    with pytest.raises(ConfigError, match="belong to camera"):
        LiftedImages(folder, intrinsics=(1.0, 1.0, 0.0, 0.0))


def test_files_that_are_wrong_are_named(folder) -> None:
    depth = folder.with_name("train_depth_v2") / "cat"
    (depth / "a_img_depth.npy").unlink()
    np.save(depth / "b_img_depth.npy", np.zeros((20, 12)))
    data = LiftedImages(folder)
    with pytest.raises(DataError, match=r"a_img_depth.npy: file is missing. Make depth files with: python tools"):
        data[0]
    with pytest.raises(DataError, match=r"b_img_depth.npy: float64 \[20, 12\] is no depth of the image of \[12, 20\]"):
        data[1]
    np.save(depth / "b_img_depth.npy", np.full((12, 20), np.nan))
    with pytest.raises(DataError, match="0 pixels have a depth, expected at least 1"):
        data[1]
    (folder / "dog" / "c.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c\.jpg: not a readable image"):
        data[2]
    skipping = LiftedImages(folder, on_error="skip")
    assert skipping[0]["points"].shape == (240, 6)
    assert skipping.skipped == [0, 1, 2]
    with pytest.raises(DataError, match="folder is missing"):
        LiftedImages(folder / "nowhere")
    with pytest.raises(DataError, match="none of the classes"):
        LiftedImages(folder, classes=["cat"])


def test_prepare_tool(folder, capsys) -> None:
    depth = folder.with_name("made")
    command = ["p3p", "--images", str(folder), "--depth-folder", str(depth)]
    assert prepare_data.main(command) == 1
    said = capsys.readouterr().out
    assert "4 of 4 images have no depth file, the first is cat/a.JPEG" in said
    assert f"p3p --images {folder} --depth-folder {depth} --depth depth-anything" in said
    assert prepare_data.main([*command, "--depth", "brightness", "--deep", "--workers", "0"]) == 0
    values = np.load(depth / "cat" / "a_img_depth.npy")
    assert values.dtype == np.float32
    assert values.min() == 0
    assert values.max() == 10  # half of the longer side
    assert write_depth_files(folder, depth, lambda: pytest.fail("nothing is missing")) == 0


def test_prepare_tool_on_rgbd_images(folder, capsys) -> None:
    depth = folder.with_name("measured")
    command = ["p3p", "--images", str(folder), "--depth-folder", str(depth), "--depth-suffix", ".png"]
    command += ["--intrinsics", "20", "20", "9.5", "5.5", "--deep", "--workers", "0"]
    assert prepare_data.main(command) == 1
    said = capsys.readouterr().out
    assert f"expected {depth / 'cat' / 'a.png'}). Put the measured depth of each image there" in said
    assert "depth-anything" not in said  # which these options exclude
    for path in folder.rglob("*.*"):
        target = depth / path.parent.name / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 20), 1500, dtype=np.uint16)).save(target)
    assert prepare_data.main(command) == 0
    Image.fromarray(np.zeros((12, 20), dtype=np.uint16)).save(depth / "cat" / "a.png")
    assert prepare_data.main(command) == 1
    assert "1 of 4 samples were skipped" in capsys.readouterr().out
    assert prepare_data.main([*command, "--depth", "brightness"]) == 1
    assert "makes files of its own: leave the former out, or the latter" in capsys.readouterr().err


def test_brightness_is_a_smooth_luminance() -> None:
    flat = brightness(np.full((9, 9, 3), 100, dtype=np.uint8))
    np.testing.assert_allclose(flat, 100, rtol=1e-5)
    image = np.zeros((9, 9, 3), dtype=np.uint8)
    image[4, 4] = 255
    assert np.unravel_index(brightness(image).argmax(), (9, 9)) == (4, 4)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_depth_network_without_its_package() -> None:
    with pytest.raises(MissingExtraError, match=r'needs the package "transformers" .*mae3d\[depth\]'):
        DepthAnything()


def test_depth_network(tmp_path) -> None:
    """A network of random weights, stored and loaded as the published ones are."""
    transformers = pytest.importorskip("transformers")
    for name in ("nowhere", "."):  # absent, and without files
        with pytest.raises(DataError, match=r"depth network are not on this machine.* hf download depth-anything/"):
            DepthAnything(str(tmp_path / name))
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    backbone = transformers.Dinov2Config(**sizes, out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
    neck = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}
    config = transformers.DepthAnythingConfig(backbone_config=backbone, patch_size=14, head_hidden_size=8, **neck)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    transformers.DPTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    depth = DepthAnything(str(tmp_path))(np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8))
    assert depth.shape == (12, 20)
    assert np.isfinite(depth).all()
    weights = tmp_path / "model.safetensors"
    for content in (weights.read_bytes()[:1000], b""):
        weights.write_bytes(content)
        with pytest.raises(DataError, match="or damaged"):
            DepthAnything(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "depth_')
    with pytest.raises(DataError, match="or damaged"):
        DepthAnything(str(tmp_path))


def packed() -> dict[str, torch.Tensor]:
    points = torch.randn(70, 6, generator=torch.Generator().manual_seed(0)) * 3 + 5
    return {"points": points, "offsets": torch.tensor([0, 40, 41, 70])}


def test_clouds_fit_the_unit_ball_and_stay_in_the_cube() -> None:
    fitted = FitUnitBall()(packed())
    for cloud in fitted["points"].split([40, 1, 29]):
        torch.testing.assert_close(cloud[:, :3].mean(0), torch.zeros(3), atol=1e-6, rtol=0)
        radius = cloud[:, :3].norm(dim=1).max().item()
        assert radius == pytest.approx(0.9999 if len(cloud) > 1 else 0.0, abs=1e-5)
    assert torch.equal(fitted["points"][:, 3:], packed()["points"][:, 3:])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        placed = ScaleInsideBall(0.5)(fitted, generator)["points"][:, :3]
        assert placed.abs().max() <= 1


def test_mirror_and_rotation_by_hand() -> None:
    batch = packed()
    before = batch["points"][:40]
    mirrored = RandomMirrorX(1.0)(batch)["points"][:40]
    torch.testing.assert_close(mirrored[:, 0], 2 * before[:, 0].mean() - before[:, 0])
    assert torch.equal(mirrored[:, 1:], before[:, 1:])
    assert torch.equal(RandomMirrorX(0.0)(batch)["points"], batch["points"])
    turned = RotateZ(math.pi / 2, math.pi / 2)(batch)["points"]
    torch.testing.assert_close(turned[:, 0], -batch["points"][:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[:, 1], batch["points"][:, 0], atol=1e-5, rtol=0)
    assert torch.equal(turned[:, 2:], batch["points"][:, 2:])


def test_dense_batches_are_transformed_like_packed_ones() -> None:
    dense = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(1))
    for transform in (FitUnitBall(), RandomMirrorX(), RotateZ(), ScaleInsideBall()):
        packed_batch = {"points": dense.flatten(0, 1), "offsets": torch.arange(4) * 20}
        first = transform({"points": dense}, torch.Generator().manual_seed(2))["points"]
        second = transform(packed_batch, torch.Generator().manual_seed(2))["points"]
        assert torch.equal(first.flatten(0, 1), second)
