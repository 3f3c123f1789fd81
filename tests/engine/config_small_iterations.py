# python tools/train.py tests/engine/config_small_iterations.py
"""The small run counted in iterations."""

from mmengine.config import read_base

from mae3d.engine.loops import IterationLoop

with read_base():
    from .config_small import *

train_cfg.merge(dict(_delete_=True, type=IterationLoop, max_iters=18, val_interval=9))
param_scheduler[0].update(by_epoch=False)
log_processor.update(by_epoch=False)
default_hooks.update(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=1, log_metric_by_epoch=False))
