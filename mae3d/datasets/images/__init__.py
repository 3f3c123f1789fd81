"""Image data sets: folders and archives, parquet and HDF5 shards."""

from mae3d.datasets.images.base import ImageDataset
from mae3d.datasets.images.folder import ImageFolder
from mae3d.datasets.images.shards import Hdf5Images, ParquetImages

__all__ = ["Hdf5Images", "ImageDataset", "ImageFolder", "ParquetImages"]
