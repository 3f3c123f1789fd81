# python tools/test.py configs/point_mae/point-mae_small_svm_modelnet40.py CHECKPOINT
"""Linear SVM on the frozen features of a pre-trained encoder, ModelNet40 as HDF5, by I2P-MAE's protocol.

CHECKPOINT comes from point-mae_small_300e_shapenet55.py, or from an official file by tools/convert_checkpoint.py. The
first 1024 points of a cloud, the maximum over its tokens, SVC with C = 0.0093. Another protocol of the literature:
    --cfg-options test_evaluator.protocol=point_bert model.pooling=max_mean
"""

from mmengine.config import read_base

from mae3d.datasets.objects import ModelNet40HDF5
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.engine.loops import ProbeLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import SvmAccuracy
from mae3d.models.methods import PointMAE

with read_base():
    from .._base_.runtime import *

data_preprocessor = dict(type=BatchPreprocessor)
model = dict(type=PointMAE, pooling="max")
test_dataloader = dict(
    dataset=dict(type=ModelNet40HDF5, root="data/modelnet40_ply_hdf5_2048", split="test"),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=128,
    num_workers=4,
)
test_cfg = dict(
    type=ProbeLoop,
    train_dataloader=dict(
        dataset=dict(type=ModelNet40HDF5, root="data/modelnet40_ply_hdf5_2048", split="train"),
        sampler=dict(type=EpochSampler, shuffle=False),
        batch_size=128,
        num_workers=4,
    ),
)
test_evaluator = dict(type=SvmAccuracy, protocol="i2p_mae")
