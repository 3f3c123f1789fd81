# tools/mmdet3d.sh train configs/mmdet3d/second_r-mae_40e_kitti.py
"""SECOND of mmdet3d on KITTI with the sparse encoder of R-MAE.

A config for mmdet3d's own tools. Before it:
    python tools/prepare_data.py kitti --root data/kitti --mmdet3d-infos
    python tools/train.py configs/r_mae/r-mae_plain_10e_kitti.py
From the pre-trained file: --cfg-options model.middle_encoder.pretrained=FILE
Objects are not pasted: ObjectSample needs the database that mmdet3d's create_data.py makes.
"""

_base_ = [
    "mmdet3d::_base_/models/second_hv_secfpn_kitti.py",
    "mmdet3d::_base_/datasets/kitti-3d-3class.py",
    "mmdet3d::_base_/schedules/cyclic-40e.py",
    "mmdet3d::_base_/default_runtime.py",
]
custom_imports = dict(imports=["mae3d.integrations.mmdet3d"], allow_failed_imports=False)

point_cloud_range = [0, -40, -3, 70.4, 40, 1]
grid = dict(point_range=point_cloud_range, voxel_size=[0.05, 0.05, 0.1])
model = dict(
    data_preprocessor=dict(_delete_=True, type="Mae3dDataPreprocessor", **grid),
    voxel_encoder=dict(_delete_=True, type="Mae3dVoxelEncoder", **grid, in_channels=4),
    middle_encoder=dict(_delete_=True, type="Mae3dSparseEncoder", **grid, in_channels=4, pretrained=None),
)

load_points = [
    dict(type="LoadPointsFromFile", coord_type="LIDAR", load_dim=4, use_dim=4),
    dict(type="Mae3dCropToImage"),
]
train_pipeline = [
    *load_points,
    dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
    dict(type="RandomFlip3D", flip_ratio_bev_horizontal=0.5),
    dict(type="GlobalRotScaleTrans", rot_range=[-0.78539816, 0.78539816], scale_ratio_range=[0.95, 1.05]),
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
test_pipeline = [
    *load_points,
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points"]),
]

data_root = "data/kitti/"
data_prefix = dict(pts="training/velodyne")
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            data_root=data_root,
            ann_file="mae3d_kitti_infos_train.pkl",
            data_prefix=data_prefix,
            pipeline=train_pipeline,
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file="mae3d_kitti_infos_val.pkl", data_prefix=data_prefix, pipeline=test_pipeline
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "mae3d_kitti_infos_val.pkl")
test_evaluator = val_evaluator
