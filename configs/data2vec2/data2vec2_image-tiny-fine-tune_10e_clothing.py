# python tools/train.py configs/data2vec2/data2vec2_image-tiny-fine-tune_10e_clothing.py
"""The small encoder fine-tuned on photographs of clothes; from scratch: --cfg-options model.init_cfg=None"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import Data2Vec2Classifier

with read_base():
    from .._base_.datasets.clothing_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=Data2Vec2Classifier,
    num_classes=10,
    image_size=64,
    patch_size=8,
    embed_dim=128,
    depth=4,
    num_heads=4,
    drop_path=0.1,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/data2vec2_image-tiny_20e_clothing/epoch_20.pth"),
)
train_cfg.update(max_epochs=10, val_interval=5)
optim_wrapper.optimizer.update(lr=4e-3)
optim_wrapper.paramwise_cfg.update(no_decay=())
param_scheduler[0].update(warmup=2)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=10, max_keep=1))
