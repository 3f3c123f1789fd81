"""Image data sets on real JPEGs and on files of every format; transforms against torch, PIL and closed forms."""

import io
import json
import math
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mae3d.datasets.images import Hdf5Images, ImageFolder, ParquetImages
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import (
    CenterCrop,
    FoldViews,
    Mixup,
    MultiScaleCrop,
    NormalizePixels,
    RandAugment,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    ResizeShortSide,
    ThreeCrops,
)
from mae3d.datasets.transforms.image.rand_augment import OPERATIONS
from mae3d.errors import ConfigError, DataError


def picture(width=40, height=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels_of(image):
    """uint8 [3, rows, columns]."""
    return torch.from_numpy(np.array(image)).movedim(-1, 0)


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            place = tmp_path / "set" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                picture(seed=number).save(place / f"{number}.png")
    return tmp_path / "set"


def test_folder_and_archive_hold_the_same(folder, tmp_path):
    plain = ImageFolder(folder, "train")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder).as_posix())
    packed = ImageFolder(tmp_path / "set.zip", "train")
    assert plain.classes == packed.classes == ("cat", "dog")
    assert plain.paths == packed.paths
    assert len(plain) == 6
    for index in range(6):
        assert torch.equal(plain[index]["image"], packed[index]["image"])
        assert plain[index]["label"] == packed[index]["label"] == index // 3
    expected = pixels_of(picture(seed=1))
    assert torch.equal(plain[1]["image"], expected)
    assert plain.sample_name(4).endswith("set/train/dog/1.png")
    assert len(pickle.loads(pickle.dumps(packed))) == 6


def test_wrong_folders_and_files_are_named(folder):
    with pytest.raises(DataError, match=r"test: no such folder\. Expected SPLIT/CLASS/NAME\.jpg"):
        ImageFolder(folder, "test")
    with pytest.raises(DataError, match=r"folders \['dog'\] are none of the 1 given classes"):
        ImageFolder(folder, "train", classes=["cat"])
    (folder / "train" / "cat" / "1.png").write_bytes(encoded(picture())[:200])
    with pytest.raises(DataError, match=r"train/cat/1\.png: not a readable image"):
        ImageFolder(folder, "train")[1]
    skipping = ImageFolder(folder, "train", on_error="skip")
    assert torch.equal(skipping[1]["image"], skipping[2]["image"])
    assert "1 of 6 samples were skipped" in skipping.skip_report()
    (folder / "broken.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"broken\.zip: not a readable zip archive"):
        ImageFolder(folder / "broken.zip")


def test_hdf5_shards(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    for number, rows in enumerate((pixels[:2], pixels[2:])):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["images"] = rows
            file["labels"] = np.arange(len(rows)) + 5 * number
    data = Hdf5Images(tmp_path)
    assert len(data) == 3
    for index, label in enumerate((0, 1, 5)):
        assert torch.equal(data[index]["image"], torch.from_numpy(pixels[index]).movedim(-1, 0))
        assert data[index]["label"] == label
    assert data.sample_name(2).endswith("1.h5[0]")
    assert len(pickle.loads(pickle.dumps(data))) == 3
    with h5py.File(tmp_path / "encoded.hdf5", "w") as file:
        kind = h5py.vlen_dtype(np.uint8)
        rows = file.create_dataset("images", (1,), dtype=kind)
        rows[0] = np.frombuffer(encoded(picture()), dtype=np.uint8)
    single = Hdf5Images(tmp_path / "encoded.hdf5", label_name=None)
    assert torch.equal(single[0]["image"], pixels_of(picture()))
    with pytest.raises(DataError, match=r"lacks the arrays \['labels'\], it holds \['images'\]"):
        Hdf5Images(tmp_path / "encoded.hdf5")
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad\.h5: not a readable HDF5 file"):
        Hdf5Images(tmp_path / "bad.h5")


def test_parquet_shards(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="parquet shards need the extra mae3d[images]")
    from pyarrow import parquet

    images = [picture(seed=number) for number in range(5)]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pyarrow.table(
        {
            "image": [{"bytes": encoded(image), "path": f"{n}.png"} for n, image in enumerate(images)],
            "label": [0, 1, 0, 1, 1],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "train-00000.parquet", row_group_size=2)
    data = ParquetImages(tmp_path)
    assert (len(data), data.classes) == (5, ("cat", "dog"))
    for index in (4, 0, 3, 2, 1):
        assert torch.equal(data[index]["image"], pixels_of(images[index]))
        assert data[index]["label"] == [0, 1, 0, 1, 1][index]
    with pytest.raises(DataError, match=r"lacks the columns \['img'\], it has \['image', 'label'\]"):
        ParquetImages(tmp_path, image_column="img")
    (tmp_path / "train-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"train-00001\.parquet: not a readable parquet file"):
        ParquetImages(tmp_path)


@pytest.mark.shared_data
def test_real_photographs(shared_data):
    path = shared_data / "images" / "clothing96.zip"
    if not path.is_file():
        pytest.skip(f"no sample photographs at {path}")
    data = ImageFolder(path, "train", [RandomResizedCrop(64, (0.2, 1)), RandomFlip(), RandAugment()], seed=1)
    held_out = ImageFolder(path, "validation", [ResizeShortSide(72), CenterCrop(64)], classes=data.classes)
    assert len(data.classes) == 10
    assert (len(data), len(held_out)) == (1100, 225)
    loaders = [DataLoader(data, batch_size=16, num_workers=workers) for workers in (0, 1)]
    first, second = (next(iter(loader)) for loader in loaders)
    assert torch.equal(first["image"], second["image"])
    batch = BatchPreprocessor([{"type": "NormalizePixels"}])(first, training=True)
    assert batch["image"].shape == (16, 3, 64, 64)
    assert -2.2 < batch["image"].min() < batch["image"].max() < 2.7
    data.set_epoch(1)
    assert not torch.equal(first["image"], next(iter(loaders[0]))["image"])


# Transforms of single samples


def test_random_resized_crop_draws_what_it_says():
    crop, generator = RandomResizedCrop(8, (0.2, 0.5)), np.random.default_rng(0)
    boxes = [crop.draw(200, 100, generator) for _ in range(500)]
    shares = np.array([w * h / 20000 for _, _, w, h in boxes])
    aspects = np.log([w / h for _, _, w, h in boxes])
    assert 0.19 < shares.min() < 0.22
    assert 0.48 < shares.max() < 0.51
    assert abs(aspects.min() - math.log(3 / 4)) < 0.05
    assert abs(aspects.max() - math.log(4 / 3)) < 0.05
    assert all(0 <= x <= 200 - w and 0 <= y <= 100 - h for x, y, w, h in boxes)


def test_sizes_that_do_not_fit():
    wide = RandomResizedCrop(8, (1.0, 1.0))
    assert wide.draw(400, 10, np.random.default_rng(0)) == (193, 0, 13, 10)  # falls back to ratio 4 / 3, centred
    without = RandomResizedCrop(8, (1.0, 1.0), retry=False).draw(400, 10, np.random.default_rng(0))
    assert without[3] == 10
    assert 50 < without[2] < 75


def test_resized_crop_equals_pil():
    image = picture()
    (result,) = RandomResizedCrop(16, (0.5, 0.5), interpolation="bilinear")([image], np.random.default_rng(3))
    x, y, w, h = RandomResizedCrop(16, (0.5, 0.5)).draw(40, 30, np.random.default_rng(3))
    pixels = np.asarray(image)[y : y + h, x : x + w]
    expected = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(result), np.asarray(expected))


def test_frames_of_a_clip_see_the_same_draws():
    frames = [picture()] * 3
    for transform in (RandomResizedCrop(16), MultiScaleCrop(16), RandomFlip(), RandAugment(count=4)):
        for seed in range(5):
            first, *others = transform(frames, np.random.default_rng(seed))
            assert all(np.array_equal(np.asarray(first), np.asarray(other)) for other in others)


def test_multi_scale_crop_places():
    """Sides and places read off an image whose pixels tell their coordinates."""
    y, x = np.mgrid[0:100, 0:160]
    image = Image.fromarray(np.stack([x, y, x * 0], -1).astype(np.uint8))
    seen = set()
    for seed in range(300):
        (result,) = MultiScaleCrop(100, (1.0, 0.5))([image], np.random.default_rng(seed))
        pixels = np.asarray(result).astype(int)
        left, right, top, bottom = pixels[0, 0, 0], pixels[0, -1, 0], pixels[0, 0, 1], pixels[-1, 0, 1]
        seen.add((round((right - left) / 50) * 50, round((bottom - top) / 50) * 50))
    assert seen == {(100, 100), (50, 50), (50, 100), (100, 50)}


def test_resize_and_crops():
    (small,) = ResizeShortSide(15)([picture(40, 30)])
    assert small.size == (20, 15)
    (middle,) = CenterCrop(10)([small])
    assert np.array_equal(np.asarray(middle), np.asarray(small)[2:12, 5:15])
    views = ThreeCrops(15)([small, small])
    assert len(views) == 6
    assert np.array_equal(np.asarray(views[0]), np.asarray(small)[:, :15])
    assert np.array_equal(np.asarray(views[-1]), np.asarray(small)[:, 5:])
    with pytest.raises(DataError, match="smaller than 30"):
        CenterCrop(30)([small])


def test_rand_augment():
    image = picture(seed=2)
    results = {np.asarray(RandAugment(count=1)([image], np.random.default_rng(s))[0]).tobytes() for s in range(200)}
    assert len(results) > 60
    assert image.tobytes() in results  # applied with probability one half
    assert len(OPERATIONS) == 15
    options = {"resample": Image.Resampling.NEAREST, "fillcolor": (0, 0, 0)}
    shifted = OPERATIONS["translate_x"][0](image, 0.25, options)
    assert np.array_equal(np.asarray(shifted)[:, :30], np.asarray(image)[:, 10:])
    assert np.array_equal(np.asarray(OPERATIONS["invert"][0](image, 0, options)), 255 - np.asarray(image))
    solar = np.asarray(OPERATIONS["solarize"][0](image, 156, options))
    pixels = np.asarray(image)
    assert np.array_equal(solar, np.where(pixels < 100, pixels, 255 - pixels))
    added = np.asarray(OPERATIONS["solarize_add"][0](image, 50, options))
    assert np.array_equal(added, np.where(pixels < 128, np.minimum(255, pixels.astype(int) + 50), pixels))
    kept = np.asarray(OPERATIONS["posterize"][0](image, 2, options))
    assert np.array_equal(kept, pixels & 0b11000000)
    with pytest.raises(ConfigError, match="magnitude"):
        RandAugment(11)


# Transforms of batches


def batch_of(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randn(shape, generator=generator), "label": torch.arange(shape[0]) % 3}


def test_normalize():
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    normal = NormalizePixels()({"image": pixels})["image"]
    red = (pixels[:, 0].double() / 255 - 0.485) / 0.229
    torch.testing.assert_close(normal[:, 0], red.float())
    clip = pixels[:, None, :, None].expand(2, 6, 3, 7, 4, 5)  # views before channels
    views = NormalizePixels(0.45, 0.225)({"video": clip})["video"]
    torch.testing.assert_close(views[1, 3, 2, 4], (pixels[1, 2].float() / 255 - 0.45) / 0.225)
    per_channel = NormalizePixels()({"video": clip})["video"]
    torch.testing.assert_close(per_channel[:, 1, :, 2], normal)
    with pytest.raises(DataError, match="must be uint8"):
        NormalizePixels()({"image": normal})


def test_mixup_and_cutmix():
    given = batch_of((6, 3, 8, 8))
    kinds = set()
    for seed in range(20):
        mixed = Mixup(3, label_smoothing=0.3)(given, torch.Generator().manual_seed(seed))
        target = mixed["target"]
        torch.testing.assert_close(target.sum(1), torch.ones(6))
        own = torch.nn.functional.one_hot(given["label"], 3) * 0.7 + 0.1
        difference = own - own.flip(0)
        row = difference.abs().sum(1) > 0
        weight = ((target - own.flip(0)) / difference)[difference != 0]
        torch.testing.assert_close(weight, weight[:1].expand_as(weight), rtol=1e-3, atol=1e-5)
        lam = weight[0].item()
        image = given["image"]
        blended = torch.allclose(mixed["image"], image * lam + image.flip(0) * (1 - lam), atol=1e-4)
        kept = (mixed["image"] == image).all(1)[row]
        if not blended:
            taken = (mixed["image"] == image.flip(0)).all(1)[row]
            assert (kept | taken).all()
            assert kept.float().mean().item() == pytest.approx(lam, abs=1e-4)
        kinds.add(blended)
    assert kinds == {True, False}
    again = Mixup(3)(given, torch.Generator().manual_seed(1))["image"]
    assert torch.equal(again, Mixup(3)(given, torch.Generator().manual_seed(1))["image"])
    none = Mixup(3, probability=0.0, label_smoothing=0.0)(given)
    assert torch.equal(none["target"].argmax(1), given["label"])
    assert torch.equal(none["image"], given["image"])
    with pytest.raises(DataError, match="label 2 of 2 classes"):
        Mixup(2)(given)
    with pytest.raises(DataError, match="put NormalizePixels before"):
        Mixup(3)({"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "label": torch.tensor([0, 1])})


def test_random_erasing():
    clip = {"video": torch.zeros(200, 2, 3, 20, 20)}
    changed = RandomErasing(0.25)(clip, torch.Generator().manual_seed(0))["video"] != 0
    share = changed.flatten(1).any(1).float().mean().item()
    assert 0.15 < share < 0.35
    assert torch.equal(clip["video"], torch.zeros_like(clip["video"]))
    where = changed.any(1)
    assert torch.equal(where[:, 0], where[:, 2])  # the same box in all frames
    areas = where[:, 0].flatten(1).float().mean(1)
    areas = areas[areas > 0]
    assert areas.min() > 0.01
    assert areas.max() < 0.36


def test_views_become_samples():
    video = torch.arange(24).view(2, 3, 4, 1, 1, 1)
    folded = FoldViews()({"video": video, "label": torch.tensor([7, 8]), "index": torch.tensor([0, 1])})
    assert folded["video"].shape == (6, 4, 1, 1, 1)
    assert folded["label"].tolist() == [7, 7, 7, 8, 8, 8]
    assert torch.equal(folded["video"][4], video[1, 1])
