# python tools/train.py configs/detection/second_voxel01_30e_nuscenes.py
"""SECOND with velocities on nuScenes: no published configuration, for comparisons with the plain encoder of R-MAE.

From a pre-trained R-MAE encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
Objects to paste: python tools/prepare_data.py nuscenes --root data/nuscenes --sweeps 10 --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import second_nuscenes

with read_base():
    from .._base_.datasets.nuscenes_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=second_nuscenes)
