# tools/mmdet3d.sh train configs/mmdet3d/centerpoint_sst_20e_nuscenes.py
"""CenterPoint of mmdet3d on nuScenes with the SST encoder of Voxel-MAE: pillars of half a metre, 10 sweeps, intensity.

A config for mmdet3d's own tools. Before it:
    python tools/prepare_data.py nuscenes --root data/nuscenes --mmdet3d-infos
    python tools/train.py configs/voxel_mae/voxel-mae_sst_200e_nuscenes-10sweeps-intensity.py
From the pre-trained file:
    --cfg-options model.pts_voxel_encoder.pretrained=FILE model.pts_middle_encoder.pretrained=FILE
Axes: our pre-training has x ahead, mmdet3d's nuScenes y; ``turned`` brings them together. A file that was pre-trained
in mmdet3d (the official Voxel-MAE) wants turned=False.
"""

_base_ = [
    "mmdet3d::_base_/datasets/nus-3d.py",
    "mmdet3d::_base_/models/centerpoint_pillar02_second_secfpn_nus.py",
    "mmdet3d::_base_/schedules/cyclic-20e.py",
    "mmdet3d::_base_/default_runtime.py",
]
custom_imports = dict(imports=["mae3d.integrations.mmdet3d"], allow_failed_imports=False)

point_cloud_range = [-50.0, -50.0, -5.0, 50.0, 50.0, 3.0]
voxel_size = [0.5, 0.5, 8.0]
grid = dict(point_range=point_cloud_range, voxel_size=voxel_size)
class_names = ["car", "truck", "construction_vehicle", "bus", "trailer", "barrier"]
class_names += ["motorcycle", "bicycle", "pedestrian", "traffic_cone"]

model = dict(
    data_preprocessor=dict(_delete_=True, type="Mae3dDataPreprocessor", **grid),
    pts_voxel_encoder=dict(
        _delete_=True,
        type="Mae3dVoxelEncoder",
        **grid,
        in_channels=5,  # x y z intensity lag
        channels=[64, 128],
        turned=True,
        pretrained=None,
    ),
    pts_middle_encoder=dict(
        _delete_=True,
        type="Mae3dSST",
        **grid,
        embed_dim=128,
        depth=8,
        num_heads=8,
        window=[16, 16, 1],
        max_window_tokens=250,
        turned=True,
        pretrained=None,
    ),
    pts_backbone=dict(in_channels=128, out_channels=[128, 256], layer_nums=[3, 5], layer_strides=[1, 2]),
    pts_neck=dict(in_channels=[128, 256], out_channels=[128, 128], upsample_strides=[1, 2]),
    pts_bbox_head=dict(
        in_channels=256,
        bbox_coder=dict(pc_range=point_cloud_range[:2], voxel_size=voxel_size[:2], out_size_factor=1),
    ),
    train_cfg=dict(
        pts=dict(grid_size=[200, 200, 1], voxel_size=voxel_size, out_size_factor=1, point_cloud_range=point_cloud_range)
    ),
    test_cfg=dict(pts=dict(voxel_size=voxel_size[:2], out_size_factor=1, pc_range=point_cloud_range[:2])),
)

load_points = [
    dict(type="LoadPointsFromFile", coord_type="LIDAR", load_dim=5, use_dim=5),
    dict(type="Mae3dLoadSweeps", sweeps_num=9, use_dim=[0, 1, 2, 3, 4], remove_close=True, test_mode=True),
]
train_pipeline = [
    *load_points,
    dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
    dict(
        type="GlobalRotScaleTrans",
        rot_range=[-0.3925, 0.3925],
        scale_ratio_range=[0.95, 1.05],
        translation_std=[0, 0, 0],
    ),
    dict(type="RandomFlip3D", sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectNameFilter", classes=class_names),
    dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
test_pipeline = [
    *load_points,
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points"]),
]

data_root = "data/nuscenes/"
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file="mae3d_nuscenes_infos_train.pkl",
        pipeline=train_pipeline,
        metainfo=dict(classes=class_names),
        use_valid_flag=True,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file="mae3d_nuscenes_infos_val.pkl",
        pipeline=test_pipeline,
        metainfo=dict(classes=class_names),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(data_root=data_root, ann_file=data_root + "mae3d_nuscenes_infos_val.pkl")
test_evaluator = val_evaluator
train_cfg = dict(val_interval=20)
