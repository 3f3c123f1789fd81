"""Detectors of mmdet3d, from the configs that it ships, on a small range and with encoders of ours."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

CLASSES = ["car", "truck", "construction_vehicle", "bus", "trailer", "barrier"]
CLASSES += ["motorcycle", "bicycle", "pedestrian", "traffic_cone"]
HALF = 12.8


def shipped(name):
    import mmdet3d

    return Config.fromfile(Path(mmdet3d.__file__).parent / ".mim" / "configs" / "_base_" / "models" / name)


def build(model):
    from mmdet3d.registry import MODELS

    import mae3d.integrations.mmdet3d  # noqa: F401, registers

    torch.manual_seed(0)
    detector = MODELS.build(model)
    detector.init_weights()
    return detector


def grid_of(kind):
    """Arguments that name the grid of a detector."""
    low, high = ([0.0, -HALF], [2 * HALF, HALF]) if kind == "second" else ([-HALF, -HALF], [HALF, HALF])
    heights = (-5.0, 3.0) if kind == "centerpoint" else (-3.0, 1.0)
    return {"point_range": [*low, heights[0], *high, heights[1]]}


def parts(encoder, kind, in_channels, **options):
    """Preprocessor, voxel encoder and middle encoder of ours; cells along one side of the map, its channels."""
    grid = grid_of(kind)
    height = grid["point_range"][5] - grid["point_range"][2]
    if encoder == "sst":
        grid["voxel_size"] = [0.4, 0.4, height]
        voxel = {"channels": [16, 32], **options}
        middle = {"type": "Mae3dSST", "embed_dim": 32, "depth": 1, "num_heads": 4, **options}
        stride, channels = 1, 32
    else:
        grid["voxel_size"] = [0.1, 0.1, height / 40]
        voxel = {key: value for key, value in options.items() if key != "pretrained"}
        middle = {"type": "Mae3dSparseEncoder", "in_channels": in_channels, "residual": encoder == "residual"}
        middle |= {"residual_bias": False, **options}
        stride, channels = 8, 256
    return (
        {"type": "Mae3dDataPreprocessor", **grid},
        {"type": "Mae3dVoxelEncoder", "in_channels": in_channels, **grid, **voxel},
        {**middle, **grid},
        stride,
        channels,
    )


def centerpoint(encoder, **options):
    """CenterPoint of nuScenes with six groups of classes and velocities."""
    cfg = shipped("centerpoint_voxel01_second_secfpn_nus.py").model
    preprocessor, voxel, middle, stride, channels = parts(encoder, "centerpoint", 5, **options)
    point_range, voxel_size = voxel["point_range"], voxel["voxel_size"]
    cfg.data_preprocessor, cfg.pts_voxel_encoder, cfg.pts_middle_encoder = preprocessor, voxel, middle
    cfg.pts_backbone.update(in_channels=channels, out_channels=[32, 32], layer_nums=[1, 1])
    cfg.pts_neck.update(in_channels=[32, 32], out_channels=[32, 32])
    cfg.pts_bbox_head.update(in_channels=64, share_conv_channel=32)
    sizes = {"voxel_size": voxel_size, "out_size_factor": stride}
    cells = [round((point_range[a + 3] - point_range[a]) / voxel_size[a]) for a in range(3)]
    cfg.train_cfg.pts.update(grid_size=cells, point_cloud_range=point_range, **sizes)
    sizes["voxel_size"] = voxel_size[:2]
    cfg.test_cfg.pts.update(pc_range=point_range[:2], **sizes)
    cfg.pts_bbox_head.bbox_coder.update(pc_range=point_range[:2], **sizes)
    return cfg


def second(encoder, **options):
    """SECOND of KITTI with three classes."""
    cfg = shipped("second_hv_secfpn_kitti.py").model
    preprocessor, voxel, middle, _, channels = parts(encoder, "second", 4, **options)
    cfg.data_preprocessor, cfg.voxel_encoder, cfg.middle_encoder = preprocessor, voxel, middle
    cfg.backbone.update(in_channels=channels, out_channels=[32, 32], layer_nums=[1, 1])
    cfg.neck.update(in_channels=[32, 32], out_channels=[32, 32])
    cfg.bbox_head.update(in_channels=64, feat_channels=64)
    ranges = [[0, -HALF, z, 2 * HALF, HALF, z] for z in (-0.6, -0.6, -1.78)]
    cfg.bbox_head.anchor_generator.update(ranges=ranges)
    return cfg


def scenes(count, kind, columns, seed=0):
    """Batch of mmdet3d: ground and three cars full of points each; a car is class 0 of CenterPoint, 2 of SECOND."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(seed)
    low = np.array(grid_of(kind)["point_range"][:2])
    batch = {"inputs": {"points": []}, "data_samples": []}
    for number in range(count):
        places = np.array([[6.0, 7.0], [16.0, 12.0], [9.0, 19.0]]) + rng.uniform(-1, 1, (3, 2)) + low
        yaws = rng.uniform(-np.pi, np.pi, 3)
        sizes = np.array([[4.2, 1.8, 1.6], [4.6, 1.9, 1.7], [3.9, 1.7, 1.5]])
        boxes = np.column_stack((places, np.full(3, -1.7), sizes, yaws, rng.uniform(-1, 1, (3, 2))))
        clouds = [np.column_stack((rng.uniform(0, 2 * HALF, (4000, 2)) + low, rng.normal(-1.7, 0.02, 4000)))]
        for x, y, z, length, width, height, yaw, *_ in boxes:
            inside = rng.uniform(-0.5, 0.5, (600, 3)) * (length, width, height)
            turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
            clouds.append(np.column_stack((inside[:, :2] @ turn.T + (x, y), inside[:, 2] + z + height / 2)))
        points = np.concatenate(clouds)
        points = np.column_stack((points, rng.uniform(0, 1, (len(points), columns - 3))))
        batch["inputs"]["points"].append(torch.from_numpy(points).float())
        width = 9 if kind == "centerpoint" else 7
        sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes, "sample_idx": number})
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes[:, :width]).float(), box_dim=width),
            labels_3d=torch.full((3,), 0 if kind == "centerpoint" else 2),
        )
        batch["data_samples"].append(sample)
    return batch
