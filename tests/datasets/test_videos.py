"""Clips of real and of written video files; which frames are taken."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mae3d.datasets.transforms.image import CenterCrop, MultiScaleCrop, ResizeShortSide, ThreeCrops
from mae3d.datasets.videos import DenseClip, SecondsClip, UniformSegments, VideoDataset
from mae3d.datasets.videos import reader as reader_module
from mae3d.datasets.videos.reader import VideoInfo, read_frames, video_info
from mae3d.errors import ConfigError, DataError, MissingExtraError


@pytest.fixture(scope="module")
def av():
    return pytest.importorskip("av", reason="video files need the extra mae3d[video]")


@pytest.fixture(scope="module")
def numbered(av, tmp_path_factory):
    """A video of 40 frames at 20 per second, key frames every 12, whose brightness tells the frame number."""
    path = tmp_path_factory.mktemp("video") / "numbered.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20, options={"g": "12"})
        stream.bit_rate = 8_000_000
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 5 * number, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def numbers(frames):
    return [round((float(np.asarray(frame).mean()) - 20) / 5) for frame in frames]


def test_frames_are_those_asked_for(numbered):
    assert video_info(numbered) == VideoInfo(40, 20.0)
    for wanted in ([0, 1, 2], [13, 25, 39], [30, 5, 30], [39], list(range(0, 40, 7))):
        assert numbers(read_frames(numbered, wanted)) == wanted


def test_files_that_are_wrong_are_named(numbered, tmp_path):
    with pytest.raises(DataError, match=r"none\.mp4: file is missing"):
        video_info(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(DataError, match=r"text\.mp4: cannot be decoded .* on_error"):
        video_info(tmp_path / "text.mp4")
    (tmp_path / "cut.mp4").write_bytes(numbered.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"cut\.mp4: "):
        read_frames(tmp_path / "cut.mp4", [0, 30])


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r'pip install "mae3d\[video\]"'):
        reader_module.video_info(tmp_path / "a.mp4")


@pytest.mark.shared_data
def test_a_real_film(av, shared_data):
    path = shared_data / "video" / "bigbuckbunny.mp4"
    if not path.is_file():
        pytest.skip(f"no sample film at {path}")
    transforms = [ResizeShortSide(72), MultiScaleCrop(64)]
    data = VideoDataset(path, sampler=DenseClip(8, 2), transforms=transforms, clips_per_video=5, seed=3)
    assert len(data) == 5
    first, again, other = data[0]["video"], data[0]["video"], data[1]["video"]
    assert first.shape == (3, 8, 64, 64)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    neighbours = (first[:, 1:].float() - first[:, :-1].float()).abs().mean()
    assert 0 < neighbours < (first.float() - other.float()).abs().mean()


def test_lists_and_folders(numbered, tmp_path):
    for name in ("a/one.mp4", "b/two.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(Path(numbered).read_bytes())
    by_folder = VideoDataset(tmp_path, sampler=UniformSegments(4))
    assert by_folder.classes == ("a", "b")
    (tmp_path / "list.csv").write_text("b/two.mp4 7\na/one.mp4 3\n")
    listed = VideoDataset(tmp_path, tmp_path / "list.csv", UniformSegments(4), [CenterCrop(32)], training=False)
    sample = listed[0]
    assert (sample["label"], sample["video"].shape) == (7, (3, 4, 32, 32))
    assert listed.sample_name(1).endswith("a/one.mp4")
    (tmp_path / "bad.csv").write_text("a/one.mp4 cat\n")
    with pytest.raises(DataError, match=r"bad\.csv:1: label 'cat' is no integer"):
        VideoDataset(tmp_path, tmp_path / "bad.csv")


def test_views_and_repeats(numbered):
    views = VideoDataset(numbered, sampler=DenseClip(4, 2, views=5), transforms=[ThreeCrops(48)], training=False)
    video = views[0]["video"]
    assert video.shape == (15, 3, 4, 48, 48)
    assert torch.equal(video[0], video[1])  # three crops of one clip whose frames are flat
    assert not torch.equal(video[2], video[3])
    repeated = VideoDataset(numbered, sampler=DenseClip(4, 2), transforms=[CenterCrop(32)], repeats=3)
    assert repeated[0]["video"].shape == (3, 3, 4, 32, 32)


def test_which_frames():
    info, generator = VideoInfo(100, 25.0), np.random.default_rng(0)
    starts = set()
    for _ in range(400):
        (clip,) = DenseClip(16, 4)(info, generator)
        assert np.diff(clip).tolist() == [4] * 15
        starts.add(clip[0])
    assert (min(starts), max(starts)) == (0, 36)
    assert DenseClip(4, 4)(VideoInfo(10, 25.0), generator) == [[0, 4, 8, 8]]  # a short video repeats its tail
    assert [clip[0] for clip in DenseClip(16, 4, views=5)(info)] == [0, 9, 18, 27, 36]
    assert UniformSegments(4, 2)(VideoInfo(40, 25.0)) == [[2, 12, 22, 32], [7, 17, 27, 37]]
    for _ in range(50):
        (clip,) = UniformSegments(8)(info, generator)
        assert all(int(i * 12.5) <= frame < (i + 1) * 12.5 for i, frame in enumerate(clip))
    # 16 frames, every 4th at 30 per second, of a film of 60 per second: 128 frames long
    (clip,) = SecondsClip(16, 4, 30.0)(VideoInfo(1000, 60.0), generator)
    assert clip[-1] - clip[0] in (126, 127, 128)
    assert SecondsClip(16, 4, 30.0)(VideoInfo(64, 30.0)) == [np.linspace(0, 63, 16).astype(int).tolist()]
    with pytest.raises(ConfigError, match="must be positive"):
        DenseClip(0)


def test_clips_of_a_part_stay_inside_it():
    info, generator = VideoInfo(100, 25.0), np.random.default_rng(0)
    clips = [DenseClip(8, 4, part=(0.25, 0.75))(info, generator)[0] for _ in range(200)]
    assert {clip[0] for clip in clips} == set(range(25, 25 + 50 - 8 * 4 + 1))
    assert all(np.diff(clip).tolist() == [4] * 7 for clip in clips)
    assert DenseClip(8, 4, part=(0.9, 1.0))(info) == [[90, 94, 98, 98, 98, 98, 98, 98]]
    with pytest.raises(ConfigError, match=r"part must be \(from, to\)"):
        DenseClip(part=(0.5, 0.5))


def test_frames_kept_in_memory_are_the_shrunk_ones(numbered):
    options = {"sampler": DenseClip(4, 3), "clips_per_video": 6, "seed": 1}
    decoded = VideoDataset(numbered, transforms=[ResizeShortSide(24)], **options)
    kept = VideoDataset(numbered, preload=24, **options)
    assert all(torch.equal(decoded[number]["video"], kept[number]["video"]) for number in range(6))
    reader_module.shrunk_frames.cache_clear()
    kept[0]
    kept[1]
    assert reader_module.shrunk_frames.cache_info()[:2] == (1, 1)  # found once, decoded once
