# python tools/train.py configs/data2vec2/data2vec2_image-large-fine-tune_50e_imagenet.py
"""data2vec 2.0's encoder fine-tuned on ImageNet-1k.

model.init_cfg.checkpoint may also be an official file (large_imagenet.pt). Published with 16 processes of 32 images,
for which the warm-up is 16,000 updates.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.datasets.transforms.image import Mixup
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import Data2Vec2Classifier

with read_base():
    from .._base_.datasets.imagenet_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=Data2Vec2Classifier,
    num_classes=1000,
    patch_size=16,
    embed_dim=1024,
    depth=24,
    num_heads=16,
    drop_path=0.2,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/data2vec2_image-large_375k_imagenet/iter_375300.pth"),
)
data_preprocessor.train_transforms[-1] = dict(
    type=Mixup, num_classes=1000, mixup=0.7, cutmix=1.0, probability=0.9, label_smoothing=0.1
)
train_cfg.update(max_epochs=50)
optim_wrapper.optimizer.update(lr=5e-4, betas=(0.9, 0.95))
optim_wrapper.paramwise_cfg.update(layer_decay=0.75, no_decay=())
optim_wrapper.update(clip_grad=dict(max_norm=4.0))
param_scheduler = [
    dict(type=WarmupCosineLR, floor=1e-7, warmup=6.395, start=0.0, shift=True, convert_to_iter_based=True),
]
lr_scaling = "none"
default_hooks.update(
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
