"""Filter banks against Kaldi's, a slow restatement and closed forms; augmentation of sounds and spectrograms."""

import math

import numpy as np
import pytest
import torch

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import (
    KaldiFilterBank,
    NormalizeSpectrogram,
    RandomGain,
    RandomRoll,
    SpecAugment,
    WaveformMixup,
)
from mae3d.errors import ConfigError, DataError

OFF = {"window": "rectangular", "preemphasis": 0.0}


def noise(count=3, samples=8000, seed=0, dtype=torch.float32):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch_of(waveform, length=None):
    count, samples = waveform.shape
    return {"waveform": waveform, "length": torch.full((count,), samples) if length is None else torch.tensor(length)}


def fixed(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_filter_bank(sound, rate, bins, preemphasis=0.97, low=20.0):
    """The definition, frame by frame and bin by bin, with a Fourier sum instead of a fast transform; float64 numpy."""
    length, shift, size = int(0.025 * rate), int(0.01 * rate), 2 ** math.ceil(math.log2(0.025 * rate))

    def to_mel(frequency):
        return 1127 * math.log(1 + frequency / 700)

    edges = np.linspace(to_mel(low), to_mel(rate / 2), bins + 2)
    time = np.arange(length)
    rows = []
    for start in range(0, len(sound) - length + 1, shift):
        piece = sound[start : start + length] - sound[start : start + length].mean()
        piece = np.array([piece[i] - preemphasis * piece[max(i - 1, 0)] for i in range(length)])
        piece = piece * (0.5 - 0.5 * np.cos(2 * np.pi * time / (length - 1)))
        row = np.zeros(bins)
        for k in range(size // 2):
            power = abs((piece * np.exp(-2j * np.pi * k * time / size)).sum()) ** 2
            place = to_mel(k * rate / size)
            for j in range(bins):
                left, middle, right = edges[j : j + 3]
                row[j] += power * max(0, min((place - left) / (middle - left), (right - place) / (right - middle)))
        rows.append(np.log(np.maximum(row, np.finfo(np.float32).eps)))
    return np.array(rows)


@pytest.mark.parametrize(("rate", "bins", "frames"), [(8000, 20, 8), (16000, 128, 2)])
def test_equals_the_definition(rate, bins, frames):
    sound = noise(1, rate // 100 * (frames + 2), dtype=torch.float64)
    ours = KaldiFilterBank(frames, bins, rate=rate).transform(sound)[0].numpy()
    np.testing.assert_allclose(ours, slow_filter_bank(sound[0].numpy(), rate, bins)[:frames], rtol=0, atol=1e-9)


def kaldi_filter_bank(sound, rate, bins, window):
    """Log energies by kaldi-native-fbank, which refuses triangles that are narrower than a Fourier bin."""
    kaldi = pytest.importorskip("kaldi_native_fbank", reason="the peer kaldi-native-fbank is not installed")
    options = kaldi.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = rate
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = bins
    options.htk_compat = True
    options.use_energy = False
    peer = kaldi.OnlineFbank(options)
    peer.accept_waveform(rate, sound.tolist())
    peer.input_finished()
    return np.stack([peer.get_frame(number) for number in range(peer.num_frames_ready)])


@pytest.mark.parametrize(
    ("bins", "rate", "window"),
    [(80, 16000, "hanning"), (80, 16000, "povey"), (23, 8000, "hamming"), (128, 44100, "hanning")],
)
def test_equals_kaldi(bins, rate, window):
    sound = noise(1, rate)[0]
    sound[rate // 2 : 3 * rate // 4] *= 1e-5  # almost silent, where the floor counts
    sound += 0.05
    sound[-rate // 8 :] = 0
    expected = kaldi_filter_bank(sound, rate, bins, window)
    ours = KaldiFilterBank(2000, bins, rate=rate, window=window).transform(sound[None])[0].numpy()
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-3)  # logarithms of float32 sums
    assert np.abs(ours - expected).mean() < 2e-5


def test_a_pure_tone_in_closed_form():
    """Frames of 512 samples and a tone of exactly 32 periods: all power, (A N / 2)^2, is in one Fourier bin."""
    bank = KaldiFilterBank(1, 4, frame_ms=32.0, low=0.0, **OFF)
    frequency = 32 * 16000 / 512
    sound = 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(512, dtype=torch.float64) / 16000)
    place = 1127 * math.log(1 + frequency / 700) / (1127 * math.log(1 + 8000 / 700)) * 5  # in triangle widths
    weight = [max(0.0, 1 - abs(place - center)) for center in (1, 2, 3, 4)]
    energies = bank.transform(sound[None])[0, 0].exp()
    expected = torch.tensor([w * (0.5 * 512 / 2) ** 2 for w in weight], dtype=torch.float64)
    torch.testing.assert_close(energies, expected.clamp_min(torch.finfo(torch.float32).eps), rtol=1e-6, atol=1e-6)


def test_gain_adds_to_the_logarithm_and_a_constant_does_nothing():
    bank, sound = KaldiFilterBank(40, 80), noise(dtype=torch.float64)
    plain = bank.transform(sound)
    torch.testing.assert_close(bank.transform(3 * sound), plain + 2 * math.log(3))
    torch.testing.assert_close(bank.transform(sound + 0.2), plain)


def test_frames_lie_inside_the_sound_and_zeros_follow():
    bank = KaldiFilterBank(48)
    assert bank.samples == 47 * 160 + 400
    lengths = [8000, 400, 399]
    waveform = noise()
    for row, length in zip(waveform, lengths):
        row[length:] = 0
    values = bank({**batch_of(waveform, lengths), "label": torch.arange(3)})
    assert set(values) == {"spectrogram", "length", "label"}
    spectrogram = values["spectrogram"]
    assert spectrogram.shape == (3, 1, 48, 128)
    for row, frames in zip(spectrogram, (48, 1, 0)):
        assert row[0, :frames].all()
        assert not row[0, frames:].any()
    cut = KaldiFilterBank(20)(batch_of(waveform))["spectrogram"]
    assert torch.equal(cut[0], spectrogram[0, :, :20])
    assert KaldiFilterBank(5)({"waveform": noise(2, 300)})["spectrogram"].count_nonzero() == 0


def test_padding_comes_before_normalisation():
    steps = [KaldiFilterBank(64), NormalizeSpectrogram(-4.0, 5.0)]
    values = BatchPreprocessor(test_transforms=steps)(batch_of(noise(2, 4000)))["spectrogram"]
    frames = 1 + (4000 - 400) // 160
    assert (values[:, :, frames:] == 0.4).all()
    torch.testing.assert_close(values[:, 0, :frames], (steps[0].transform(noise(2, 4000)) + 4) / 10)


def test_wrong_banks_and_batches_are_named():
    for wrong in ({"low": 9000.0}, {"high": 9000.0}, {"frames": 0}, {"window": "sine"}, {"shift_ms": 0.0}):
        with pytest.raises(ConfigError, match="KaldiFilterBank"):
            KaldiFilterBank(**wrong)
    with pytest.raises(DataError, match=r"'waveform' of a batch, got \['image'\]"):
        KaldiFilterBank()({"image": noise()})
    with pytest.raises(DataError, match=r"floats, got torch\.int16 \[1, 800\]"):
        KaldiFilterBank().transform(torch.zeros(1, 800, dtype=torch.int16))
    for transform in (RandomGain(), RandomRoll(), WaveformMixup(3), NormalizeSpectrogram(), SpecAugment()):
        with pytest.raises(DataError, match=f"{type(transform).__name__} needs the field"):
            transform({})


def test_gain():
    batch = batch_of(torch.ones(2000, 2))
    factor = RandomGain()(batch, fixed())["waveform"]
    assert torch.equal(factor[:, 0], factor[:, 1])
    assert factor.min() > 0.5
    assert factor.max() < 1.5
    assert factor.mean().item() == pytest.approx(1, abs=0.01)
    assert factor[:, 0].std().item() == pytest.approx((1 / 84) ** 0.5, rel=0.05)  # Beta(a, a): 1 / (4 (2 a + 1))
    assert torch.equal(RandomGain()(batch, fixed())["waveform"], factor)


def test_roll():
    waveform = torch.arange(12.0).repeat(50, 1)
    waveform[:, 7:] = 0
    rolled = RandomRoll()(batch_of(waveform, [7] * 50), fixed())["waveform"]
    assert not rolled[:, 7:].any()
    offsets = set()
    for row in rolled:
        offsets.add(int((row[:7] == 0).nonzero()[0]))
        assert torch.equal(row[:7], waveform[0, :7].roll(int((row[:7] == 0).nonzero()[0])))
    assert offsets == set(range(7))


def test_mixup():
    torch.manual_seed(0)
    waveform = torch.randn(64, 20)
    lengths = torch.randint(5, 21, (64,))
    inside = torch.arange(20) < lengths[:, None]
    waveform = (waveform - (waveform * inside).sum(1, keepdim=True) / lengths[:, None]) * inside
    batch = {"waveform": waveform, "length": lengths, "label": torch.arange(64)}
    mixed = WaveformMixup(64)(batch, fixed())
    target = mixed["target"]
    torch.testing.assert_close(target.sum(1), torch.ones(64))
    changed = target.amax(1) < 1
    assert 20 < int(changed.sum()) < 44
    assert torch.equal(mixed["waveform"][~changed], waveform[~changed])
    for row in changed.nonzero().flatten().tolist():
        first, second = target[row, row], 1 - target[row, row]
        other = int(target[row].index_fill(0, torch.tensor(row), 0).argmax())
        assert target[row, other].item() == pytest.approx(second.item(), abs=1e-6)
        expected = (first * waveform[row] + second * waveform[other])[: lengths[row]]
        torch.testing.assert_close(mixed["waveform"][row, : lengths[row]], expected - expected.mean())
        assert not mixed["waveform"][row, lengths[row] :].any()
    several = {**batch, "target": torch.eye(64) + torch.eye(64).roll(1, 0)}
    assert WaveformMixup(probability=1.0)(several, fixed())["target"].sum(1).allclose(torch.tensor(2.0))
    alone = WaveformMixup(64, 1.0)({name: value[:1] for name, value in batch.items()}, fixed())
    torch.testing.assert_close(alone["waveform"], waveform[:1])
    with pytest.raises(DataError, match="label 63 of 10 classes"):
        WaveformMixup(10)(batch)
    with pytest.raises(ConfigError, match="probability"):
        WaveformMixup(10, 1.5)


def test_spec_augment():
    values = torch.ones(400, 1, 100, 30)
    hidden = SpecAugment(12, 40)({"spectrogram": values}, fixed())["spectrogram"][:, 0] == 0
    rows, columns = hidden.all(dim=2), hidden.all(dim=1)
    assert torch.equal(hidden, rows[:, :, None] | columns[:, None])
    for cells, widest in ((rows, 40), (columns, 12)):
        width = cells.sum(1)
        assert int(width.min()) == 0
        assert int(width.max()) == widest - 1
        assert width.float().mean().item() == pytest.approx((widest - 1) / 2, rel=0.1)
        assert (cells.int().diff(dim=1).abs().sum(1) <= 2).all()  # one stretch
        assert cells[:, 0].any()
        assert cells[:, -3:].any()
    only = SpecAugment(0, 40)({"spectrogram": values}, fixed())["spectrogram"][:, 0] == 0
    assert not only.all(dim=1).any()
    whole = SpecAugment(0, 500)({"spectrogram": values}, fixed())["spectrogram"]
    assert whole.isfinite().all()
    with pytest.raises(ConfigError, match="negative"):
        SpecAugment(-1)


@pytest.mark.shared_data
def test_a_real_digit_equals_kaldi(shared_data):
    pytest.importorskip("soundfile", reason="sound files need the extra mae3d[audio]")
    archive = shared_data / "audio" / "fsdd.zip"
    if not archive.is_file():
        pytest.skip(f"no spoken digits at {archive}")
    sample = AudioFolder(archive, rate=8000, samples=16000, select="3_jackson_0")[0]
    bank = KaldiFilterBank(300, 40, rate=8000)
    ours = bank({name: value[None] for name, value in sample.items()})["spectrogram"][0, 0]
    expected = kaldi_filter_bank(sample["waveform"][: int(sample["length"])], 8000, 40, "hanning")
    np.testing.assert_allclose(ours[: len(expected)], expected, rtol=0, atol=2e-3)
    assert not ours[len(expected) :].any()
