# python tools/train.py configs/point_bert/point-bert_dvae_300e_shapenet55.py
"""Point-BERT's tokenizer as published (arXiv 2111.14819): a dVAE of point patches on ShapeNet55, 27.6 M parameters.

The files are expected under data/ShapeNet55-34; another place:
    --cfg-options train_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import PointDVAE

with read_base():
    from .._base_.datasets.shapenet55 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointDVAE,
    num_groups=64,
    group_size=32,
    embed_dim=256,
    num_codes=8192,
    graph_dim=128,
    neighbours=4,
    decoder_dim=1024,
    temperature=(1.0, 0.0625),
    temperature_steps=100_000,
    divergence_weight=0.1,
    divergence_start=10_000,
    divergence_steps=100_000,
    skip_near_origin=1e-3,
)
data_preprocessor = dict(type=BatchPreprocessor)  # no augmentation
train_dataloader.update(batch_size=64)
optim_wrapper.optimizer.update(lr=5e-4, weight_decay=5e-4)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1))
custom_hooks = [dict(type=ReconstructionHook, interval=25)]
