"""Video data sets: lists of files as Kinetics and Something-Something use them, and folders of classes."""

from mae3d.datasets.videos.dataset import VideoDataset
from mae3d.datasets.videos.sampling import DenseClip, SecondsClip, UniformSegments

__all__ = ["DenseClip", "SecondsClip", "UniformSegments", "VideoDataset"]
