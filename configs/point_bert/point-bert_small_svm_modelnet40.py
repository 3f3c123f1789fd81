# python tools/test.py configs/point_bert/point-bert_small_svm_modelnet40.py CHECKPOINT
"""Linear SVM on the frozen vectors of Point-BERT's contrastive head, ModelNet40, by the paper's protocol.

CHECKPOINT comes from point-bert_small_300e_shapenet55.py, or from an official file by tools/convert_checkpoint.py. The
1024 furthest points of a cloud, LinearSVC with its default settings. The official loader drops the 115 training clouds
of the last batch: --cfg-options test_evaluator.drop_last=True
"""

from mmengine.config import read_base

from mae3d.engine.loops import ProbeLoop
from mae3d.evaluation import SvmAccuracy
from mae3d.models.methods import PointBERT, PointDVAE

with read_base():
    from .._base_.datasets.modelnet40_1k import *
    from .._base_.runtime import *

train_dataloader = val_dataloader = val_cfg = val_evaluator = None
model = dict(type=PointBERT, dvae=dict(type=PointDVAE), pooling="contrast")
test_cfg = dict(
    type=ProbeLoop,
    train_dataloader=dict(
        dataset=dict(
            type=ModelNet40, root="data/ModelNet/modelnet40_normal_resampled", split="train", sampling="first"
        ),
        sampler=dict(type=EpochSampler, shuffle=False),
        batch_size=64,
        num_workers=4,
    ),
)
test_evaluator = dict(type=SvmAccuracy, protocol="point_bert")
