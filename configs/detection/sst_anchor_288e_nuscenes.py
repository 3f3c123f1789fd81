# python tools/train.py configs/detection/sst_anchor_288e_nuscenes.py
"""SST with anchors on nuScenes, the detector that Voxel-MAE fine-tunes: two sweeps
without intensity, no pasted objects.

From a pre-trained Voxel-MAE: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE.
Fewer labels: train_dataloader.dataset.percent=20
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import sst_nuscenes

with read_base():
    from .._base_.datasets.nuscenes_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_cyclic_288e import *

model = dict(type=sst_nuscenes, in_channels=4)
data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=RotateScene, low=-0.3925, high=0.3925),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=FlipScene, axes=("x",)),
        dict(type=RangeFilter, point_range=(-49.95, -49.95, -4.95, 49.95, 49.95, 2.95)),
        dict(type=BoxFilter, min_points=0),
        dict(type=ShufflePoints),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(-49.95, -49.95, -4.95, 49.95, 49.95, 2.95), boxes=False)],
)
train_dataloader.dataset = dict(
    type=NuScenes, root="data/nuscenes", split="train", features=(), sweeps=2, remove_close=2.0
)
val_dataloader.dataset.update(features=(), sweeps=2, remove_close=2.0)
test_dataloader = val_dataloader
