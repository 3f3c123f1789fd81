"""Loading steps for pipelines of mmdet3d, where its own differ from what our pre-training sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.datasets.transforms.loading import LoadPointsFromMultiSweeps
from mmdet3d.registry import TRANSFORMS

from mae3d.datasets.lidar.kitti_files import in_image


@TRANSFORMS.register_module()
class Mae3dLoadSweeps(LoadPointsFromMultiSweeps):
    """``LoadPointsFromMultiSweeps`` whose sweeps lie where the vehicle's poses put them. Arguments are the same.

    That of mmdet3d 1.x inverts the pose of a sweep wrongly: it turns the shift by the inverse rotation (its issue
    3054, open). Nothing is wrong while the vehicle drives straight; a shift of 5 m at a turn of 0.1 radians is off by
    half a metre.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Give the parent, which subtracts the stored shift t, the t that makes its result the true inverse."""
        if "lidar_sweeps" in results:
            results["lidar_sweeps"] = [self._prepared(sweep) for sweep in results["lidar_sweeps"]]
        return super().transform(results)

    @staticmethod
    def _prepared(sweep: dict[str, Any]) -> dict[str, Any]:
        points = sweep["lidar_points"]
        matrix = np.array(points["lidar2sensor"], dtype=np.float64)
        matrix[:3, 3] = matrix[:3, :3].T @ matrix[:3, 3]
        return {**sweep, "lidar_points": {**points, "lidar2sensor": matrix}}


@TRANSFORMS.register_module()
class Mae3dCropToImage(BaseTransform):
    """KITTI: keep the points that camera 2 sees; labels end there. Stands in for the files of ``velodyne_reduced/``."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop ``points``, straight after they were loaded."""
        camera = results["images"]["CAM2"]
        image_from_camera = np.asarray(camera["cam2img"], dtype=np.float64)[:3]
        camera_from_lidar = np.asarray(camera["lidar2cam"], dtype=np.float64)
        size = (camera["height"], camera["width"])
        seen = in_image(results["points"].tensor.numpy(), image_from_camera, camera_from_lidar, size)
        results["points"] = results["points"][torch.from_numpy(seen)]
        return results
