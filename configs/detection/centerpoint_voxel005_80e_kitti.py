# python tools/train.py configs/detection/centerpoint_voxel005_80e_kitti.py
"""CenterPoint with voxels of 0.05 m on KITTI.

From a pre-trained R-MAE encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
model.residual_bias=False
Objects to paste: python tools/prepare_data.py kitti --root data/kitti --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import centerpoint_kitti

with read_base():
    from .._base_.datasets.kitti_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=centerpoint_kitti)
train_dataloader.update(batch_size=8)
train_cfg.update(max_epochs=80)
