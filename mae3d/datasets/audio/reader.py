"""Sound files to waveforms: any format that libsndfile reads, mixed down to one channel, at one rate."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mae3d.datasets.files import require_file
from mae3d.errors import DataError, MissingExtraError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")
ADVICE = 'Replace the file or set on_error="skip".'
UNKNOWN_SIZE = 0x7FFFFF00
"""Sizes from here on are written where a recorder did not know how long the file would become."""


def decode_waveform(data: bytes, name: str, rate: int = 16000) -> np.ndarray:
    """Waveform of an encoded file.

    Args:
        data: The file's bytes.
        name: Begins the message of a DataError.
        rate: Samples per second of the result; other rates are converted by the band-limited filter of soxr ("HQ").

    Returns:
        float32 [samples], the mean of the channels; integer formats become values in [-1, 1).

    Raises:
        MissingExtraError: soundfile or soxr is not installed.
        DataError: Not a sound file, cut off, without samples, or with values that are not finite.
    """
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtraError("soundfile", "audio", f"reading {Path(name).name}") from error
    if not data:
        raise DataError(f"{name}: file is empty (0 bytes). {ADVICE}")
    _check_wave_size(data, name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            told, given = file.frames, file.samplerate
            waveform = file.read(dtype="float32", always_2d=True)  # [samples, channels]
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise DataError(f"{name}: not a readable sound file ({error}). {ADVICE}") from error
    if len(waveform) < told:
        raise DataError(f"{name}: cut off: {len(waveform)} of the {told} samples that its header tells. {ADVICE}")
    if not len(waveform):
        raise DataError(f"{name}: holds no samples. {ADVICE}")
    if not np.isfinite(waveform).all():
        first = int(np.argwhere(~np.isfinite(waveform).all(axis=1))[0, 0])
        raise DataError(f"{name}: sample {first} is not finite. {ADVICE}")
    return _resample(waveform.mean(axis=1), given, rate, name)


def read_waveform(path: str | Path, rate: int = 16000) -> np.ndarray:
    """Waveform of a file, see :func:`decode_waveform`."""
    path = require_file(Path(path), ADVICE)
    return decode_waveform(path.read_bytes(), str(path), rate)


def _check_wave_size(data: bytes, name: str) -> None:
    """libsndfile reads a .wav file that was cut off as a shorter one: compare with the size in its first bytes."""
    if data[:4] != b"RIFF":
        return
    told = int.from_bytes(data[4:8], "little") + 8
    if len(data) + 1 < told < UNKNOWN_SIZE:  # the byte that pads an odd size may be missing
        raise DataError(f"{name}: cut off: {len(data)} of the {told} bytes that its header tells. {ADVICE}")


def _resample(waveform: np.ndarray, given: int, wanted: int, name: str) -> np.ndarray:
    if given == wanted:
        return waveform
    try:
        import soxr
    except ImportError as error:
        raise MissingExtraError("soxr", "audio", f"converting {Path(name).name} from {given} Hz") from error
    return soxr.resample(waveform, given, wanted, quality="HQ")
