"""Encoders of mae3d inside mmdet3d 1.4: name this package in the ``custom_imports`` of a config.

Registered with mmdet3d: ``Mae3dDataPreprocessor``, ``Mae3dVoxelEncoder``, ``Mae3dSparseEncoder``, ``Mae3dSST``,
``Mae3dLoadSweeps``, ``Mae3dCropToImage``. docs/mmdet3d.md shows how they meet.

Raises:
    MissingExtraError: mmdet3d, or the compiled operators of mmcv that it needs, cannot be imported.
"""

from mae3d.errors import MissingExtraError

try:
    import mmdet3d.models  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "mmdet3d", "mmdet3d", "mae3d.integrations.mmdet3d (tools/install_mmdet3d.sh installs it, mmcv built for it)"
    ) from error

from mae3d.integrations.mmdet3d.boxes import from_lidar_boxes, to_lidar_boxes
from mae3d.integrations.mmdet3d.loading import Mae3dCropToImage, Mae3dLoadSweeps
from mae3d.integrations.mmdet3d.middle_encoders import Mae3dSparseEncoder, Mae3dSST
from mae3d.integrations.mmdet3d.voxels import Mae3dDataPreprocessor, Mae3dVoxelEncoder

__all__ = [
    "Mae3dCropToImage",
    "Mae3dDataPreprocessor",
    "Mae3dLoadSweeps",
    "Mae3dSST",
    "Mae3dSparseEncoder",
    "Mae3dVoxelEncoder",
    "from_lidar_boxes",
    "to_lidar_boxes",
]
