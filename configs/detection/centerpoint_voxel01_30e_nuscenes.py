# python tools/train.py configs/detection/centerpoint_voxel01_30e_nuscenes.py
"""CenterPoint with voxels of 0.1 m on nuScenes.

Published: 56.03 mAP and 64.54 NDS from scratch, 59.20 and 66.85 from R-MAE.
Objects to paste: python tools/prepare_data.py nuscenes --root data/nuscenes --sweeps 10 --ground-truth-database
From a pre-trained R-MAE encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
model.residual_bias=False
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import centerpoint_nuscenes

with read_base():
    from .._base_.datasets.nuscenes_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=centerpoint_nuscenes)
