"""Audio data sets: folders of classes, and tables of files with one or several labels."""

from mae3d.datasets.audio.base import AudioDataset
from mae3d.datasets.audio.folder import AudioFolder
from mae3d.datasets.audio.reader import decode_waveform, read_waveform
from mae3d.datasets.audio.table import AudioTable

__all__ = ["AudioDataset", "AudioFolder", "AudioTable", "decode_waveform", "read_waveform"]
