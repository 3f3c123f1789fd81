"""Audio data sets on written files of every kind and on real recordings."""

import csv
import io
import json
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mae3d.datasets import HeldOut
from mae3d.datasets.audio import AudioFolder, AudioTable, decode_waveform, read_waveform
from mae3d.engine.sampling import SampleKey
from mae3d.errors import ConfigError, DataError, MissingExtraError

soundfile = pytest.importorskip("soundfile", reason="sound files need the extra mae3d[audio]")
pytest.importorskip("soxr", reason="sound files need the extra mae3d[audio]")


def tone(frequency=440.0, seconds=0.5, rate=16000):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(values, rate=16000, kind="WAV", subtype=None):
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def write(path, values, rate=16000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(values, rate, **options))


@pytest.mark.parametrize(
    ("kind", "subtype", "largest"),
    [("WAV", "PCM_16", 2**-15), ("WAV", "FLOAT", 0), ("FLAC", "PCM_24", 2**-23), ("OGG", "VORBIS", 0.02)],
)
def test_every_kind_gives_the_waveform(kind, subtype, largest):
    values = tone()
    read = decode_waveform(encoded(values, kind=kind, subtype=subtype), "tone")
    assert read.dtype == np.float32
    assert read.shape == values.shape
    assert np.abs(read - values).max() <= largest


def test_channels_are_averaged():
    left, right = tone(300), tone(700)
    read = decode_waveform(encoded(np.stack((left, right), axis=1), subtype="FLOAT"), "two")
    np.testing.assert_allclose(read, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_converted_to_the_same_tone(rate):
    read = decode_waveform(encoded(tone(1000, rate=rate), rate, subtype="FLOAT"), "tone")
    assert len(read) == 8000
    inner = slice(500, -500)  # the ends ring
    np.testing.assert_allclose(read[inner], tone(1000)[inner], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_filtered_out():
    read = decode_waveform(encoded(tone(11000, rate=44100), 44100, subtype="FLOAT"), "high")
    assert np.abs(read[500:-500]).max() < 1e-3  # sampled without a filter it would be a tone of 5 kHz


def test_files_that_are_wrong_are_named(tmp_path):
    whole = {"wav": encoded(tone()), "flac": encoded(tone(), kind="FLAC"), "ogg": encoded(tone(), kind="OGG")}
    for kind, data in whole.items():
        with pytest.raises(DataError, match=rf"a\.{kind}: (cut off|not a readable|holds no samples).*on_error"):
            decode_waveform(data[: len(data) // 2], f"a.{kind}")
    with pytest.raises(DataError, match=r"none\.wav: file is missing"):
        read_waveform(tmp_path / "none.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(DataError, match=r"empty\.wav: file is empty \(0 bytes\)"):
        read_waveform(tmp_path / "empty.wav")
    with pytest.raises(DataError, match=r"text\.wav: not a readable sound file"):
        decode_waveform(b"no sound at all, but text" * 9, "text.wav")
    with pytest.raises(DataError, match=r"silent\.wav: holds no samples"):
        decode_waveform(encoded(np.zeros(0, np.float32)), "silent.wav")
    values = tone()
    values[77] = np.nan
    with pytest.raises(DataError, match=r"bad\.wav: sample 77 is not finite"):
        decode_waveform(encoded(values, subtype="FLOAT"), "bad.wav")


def test_a_recording_that_never_knew_its_length_is_read():
    data = bytearray(encoded(tone()))
    data[4:8] = b"\xff\xff\xff\xff"
    assert len(decode_waveform(bytes(data), "streamed.wav")) == 8000


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_without_a_package_the_extra_is_named(monkeypatch, package):
    data = encoded(tone(rate=8000), 8000)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'"{package}": pip install "mae3d\[audio\]"'):
        decode_waveform(data, "a.wav")


@pytest.fixture
def folder(tmp_path):
    for name, frequency in (("yes", 300), ("no", 600)):
        for number in range(3):
            write(tmp_path / "set" / name / f"{number}.wav", tone(frequency + number, seconds=0.02 * (number + 1)))
    write(tmp_path / "set" / "_background_noise_" / "hum.wav", tone(50))
    (tmp_path / "set" / "testing_list.txt").write_text("yes/2.wav\nno/0.wav\n")
    return tmp_path / "set"


def test_folder_of_classes_and_its_archive(folder, tmp_path):
    plain = AudioFolder(folder, samples=500)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in folder.rglob("*.wav"):
            archive.write(path, path.relative_to(folder).as_posix())
    packed = AudioFolder(tmp_path / "set.zip", samples=500)
    assert plain.classes == packed.classes == ("no", "yes")
    assert plain.paths == packed.paths == [f"{name}/{number}.wav" for name in ("no", "yes") for number in range(3)]
    for index in range(6):
        sample = plain[index]
        assert torch.equal(sample["waveform"], packed[index]["waveform"])
        assert sample["waveform"].shape == (500,)
        assert int(sample["length"]) == min(500, 320 * (index % 3 + 1))
        assert not sample["waveform"][int(sample["length"]) :].any()
        assert int(sample["label"]) == index // 3
    expected = torch.from_numpy(tone(601, seconds=0.04))[:500]
    assert torch.allclose(plain[1]["waveform"], expected, atol=2**-15)
    assert plain.sample_name(4).endswith("set/yes/1.wav")
    loader = DataLoader(pickle.loads(pickle.dumps(packed)), batch_size=6, num_workers=2)
    assert next(iter(loader))["waveform"].shape == (6, 500)


def test_lists_and_patterns_choose_files(folder):
    chosen = AudioFolder(folder, listed=folder / "testing_list.txt")
    assert chosen.paths == ["no/0.wav", "yes/2.wav"]
    rest = AudioFolder(folder, unlisted=[folder / "testing_list.txt"])
    assert sorted(chosen.paths + rest.paths) == AudioFolder(folder).paths
    named = AudioFolder(folder / "yes", class_pattern=r"^(\d)\.", select=r"[02]\.wav$", classes="0123456789")
    assert named.paths == ["0.wav", "2.wav"]
    assert named.labels == [0, 2]
    assert AudioFolder(folder / "yes").annotation(0) == {}
    (folder / "testing_list.txt").write_text("yes/9.wav\n")
    with pytest.raises(DataError, match=r"testing_list\.txt: 1 of its files .* first 'yes/9\.wav'"):
        AudioFolder(folder, listed=folder / "testing_list.txt")
    with pytest.raises(DataError, match=r"classes \['yes'\] are none of the 1 given ones"):
        AudioFolder(folder, classes=["no"])
    with pytest.raises(DataError, match=r"no sound .* is left"):
        AudioFolder(folder, select="nothing")
    with pytest.raises(DataError, match=r"test: no such folder\. Expected SPLIT/CLASS/NAME\.wav"):
        AudioFolder(folder, "test")
    with pytest.raises(ConfigError, match="has no group"):
        AudioFolder(folder, class_pattern="^x")
    with pytest.raises(ConfigError, match="no regular expression"):
        AudioFolder(folder, select="(")


def test_crops_and_levels(tmp_path):
    sound = (np.arange(1000) / 1000 + 0.1).astype(np.float32)
    write(tmp_path / "ramp.wav", sound, subtype="FLOAT")

    def waveform(index=0, **options):
        return AudioFolder(tmp_path, samples=400, **options)[index]["waveform"].numpy()

    assert np.array_equal(waveform(), sound[:400])
    assert np.array_equal(waveform(crop="center"), sound[300:700])
    starts = {round((waveform(SampleKey(0, seed), crop="random")[0] - 0.1) * 1000) for seed in range(20)}
    assert len(starts) > 10
    assert min(starts) >= 0
    assert max(starts) <= 600
    again = [waveform(SampleKey(0, 3), crop="random") for _ in range(2)]
    assert np.array_equal(*again)
    np.testing.assert_allclose(waveform(level="mean"), (sound - sound.mean())[:400], atol=1e-6)
    np.testing.assert_allclose(waveform(level="unit"), ((sound - sound.mean()) / sound.std())[:400], atol=1e-3)
    for wrong in ({"crop": "end"}, {"level": "max"}, {"rate": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            AudioFolder(tmp_path, **wrong)


def test_bad_files_stop_or_are_skipped(folder):
    (folder / "no" / "1.wav").write_bytes(b"RIFF broken")
    with pytest.raises(DataError, match=r"no/1\.wav: "):
        AudioFolder(folder)[1]
    skipping = AudioFolder(folder, on_error="skip")
    assert torch.equal(skipping[1]["waveform"], skipping[2]["waveform"])
    assert "1 of 6 samples were skipped" in skipping.skip_report()


def test_a_part_is_held_out(folder):
    parts = [HeldOut(AudioFolder(folder), part, fraction=1 / 3) for part in ("train", "validation")]
    assert [len(part) for part in parts] == [4, 2]
    taken = [int(part[index]["index"]) for part in parts for index in range(len(part))]
    assert sorted(taken) == list(range(6))


def test_table_of_folds_as_in_esc50(tmp_path):
    with (tmp_path / "esc50.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "fold", "target", "category"])
        for number in range(12):
            write(tmp_path / "audio" / f"{number}.wav", tone(200 + number, seconds=0.01))
            rows.writerow([f"{number}.wav", number % 3 + 1, number, f"class {number:x}"])
    train, test = (
        AudioTable(tmp_path / "esc50.csv", tmp_path / "audio", 160, label="target", where={"fold": fold})
        for fold in ([1, 2], 3)
    )
    assert (len(train), len(test)) == (8, 4)
    assert test.classes == ("2", "5", "8", "11")  # by size, not as text
    fixed = AudioTable(tmp_path / "esc50.csv", tmp_path / "audio", 160, label="target", classes=range(12))
    assert [int(fixed[index]["label"]) for index in range(12)] == list(range(12))
    with pytest.raises(DataError, match=r"'\{kind\}' cannot be filled .* columns are \['category', 'filename'"):
        AudioTable(tmp_path / "esc50.csv", label="kind")
    with pytest.raises(DataError, match=r"label '0' of 0\.wav is none of the 2 classes"):
        AudioTable(tmp_path / "esc50.csv", label="target", classes=["a", "b"])
    with pytest.raises(DataError, match="no row is left of 0"):
        AudioTable(tmp_path / "esc50.csv", where={"fold": 9})


AUDIOSET = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=3, num_segs=3
# YTID, start_seconds, end_seconds, positive_labels
--aa, 0.000, 10.000, "/m/09x0r,/t/dd00088"
-b_b, 30.000, 40.000, "/m/05zppz"
cc, 0.000, 10.000, "/t/dd00088,/m/05zppz,/m/09x0r"
"""


def test_table_of_several_labels_as_in_audioset(tmp_path, caplog):
    (tmp_path / "eval_segments.csv").write_text(AUDIOSET)
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male, speaking"\n2,/t/dd00088,"Gargling"\n'
    )
    for name in ("--aa", "cc"):
        write(tmp_path / "eval" / f"{name}.flac", tone(seconds=0.02), kind="FLAC")
    options = {
        "samples": 320,
        "path": "{YTID}.flac",
        "label": "labels",
        "columns": ["YTID", "start", "end", "labels"],
        "multi_label": True,
        "classes": tmp_path / "class_labels_indices.csv",
    }
    data = AudioTable(tmp_path / "eval_segments.csv", tmp_path / "eval", drop_missing=True, **options)
    assert data.paths == ["--aa.flac", "cc.flac"]
    assert "1 of 3 files are not there" in caplog.text
    assert [data[index]["target"].tolist() for index in range(2)] == [[1, 0, 1], [1, 1, 1]]
    assert "label" not in data[0]
    with pytest.raises(DataError, match=r"-b_b\.flac: cannot be read"):
        AudioTable(tmp_path / "eval_segments.csv", tmp_path / "eval", **options)[1]


def test_json_lists_as_ast_writes_them(tmp_path):
    write(tmp_path / "a.wav", tone(seconds=0.01))
    rows = [{"wav": str(tmp_path / "a.wav"), "labels": "x,y"}, {"wav": "a.wav", "labels": "y"}]
    for content in ({"data": rows}, rows):
        (tmp_path / "list.json").write_text(json.dumps(content))
        data = AudioTable(tmp_path / "list.json", samples=160, path="wav", label="labels", multi_label=True)
        assert data.classes == ("x", "y")
        assert [data[index]["target"].tolist() for index in range(2)] == [[1, 1], [0, 1]]
    for text, message in (("{", "not a JSON file"), ("[1]", "no list of objects")):
        (tmp_path / "list.json").write_text(text)
        with pytest.raises(DataError, match=message):
            AudioTable(tmp_path / "list.json", path="wav")
    with pytest.raises(DataError, match=r"^\S+absent\.json: file is missing"):
        AudioTable(tmp_path / "absent.json", path="wav")
    with pytest.raises(ConfigError, match=r"none of \.csv, \.tsv, \.json"):
        AudioTable(tmp_path / "list.txt")
    for text, message in (
        ("filename\na.wav,7\n", "row 0 has more"),
        ("filename,class\na.wav,7\nb.w", "row 1 has fewer"),
    ):
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(DataError, match=f"{message} values than there are columns"):
            AudioTable(tmp_path / "list.csv")


@pytest.mark.shared_data
def test_real_digits(shared_data):
    archive = shared_data / "audio" / "fsdd.zip"
    if not archive.is_file():
        pytest.skip(f"no spoken digits at {archive}")
    data = AudioFolder(archive, samples=16000, class_pattern=r"^(\d)_")
    assert len(data) == 600
    assert data.classes == tuple("0123456789")
    sample = data[599]
    assert int(sample["label"]) == 9
    with zipfile.ZipFile(archive) as files:
        frames = soundfile.info(io.BytesIO(files.read(data.paths[599]))).frames  # at 8 kHz
    assert int(sample["length"]) == min(16000, 2 * frames)
    assert 0.01 < float(sample["waveform"].abs().max()) <= 1.01
