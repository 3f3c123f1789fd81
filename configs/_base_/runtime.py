"""How every run is logged, saved, seeded and guarded."""

from mmengine.hooks import DistSamplerSeedHook, LoggerHook, ParamSchedulerHook, SyncBuffersHook
from mmengine.runner import LogProcessor
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, Visualizer

from mae3d.engine.hooks import (
    AccumulationHook,
    AtomicCheckpointHook,
    BoundedHistoryHook,
    InterruptHook,
    NonFiniteLossHook,
    RunRecordHook,
    ScalarsHook,
    SkippedSamplesHook,
    ThroughputHook,
)
from mae3d.engine.seeding import SeedHook

default_scope = "mae3d"
randomness = dict(seed=0, deterministic=False)
launcher = "none"
log_level = "INFO"
load_from = None
resume = False

default_hooks = dict(
    runtime_info=dict(type=ScalarsHook),
    seed=dict(type=SeedHook),
    accumulation=dict(type=AccumulationHook),
    nan_guard=dict(type=NonFiniteLossHook),
    timer=dict(type=ThroughputHook),
    sampler_seed=dict(type=DistSamplerSeedHook),
    sync_buffers=dict(type=SyncBuffersHook),
    logger=dict(type=LoggerHook, interval=20),
    history=dict(type=BoundedHistoryHook),
    param_scheduler=dict(type=ParamSchedulerHook),
    record=dict(type=RunRecordHook),
    skipped=dict(type=SkippedSamplesHook),
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=2),
    interrupt=dict(type=InterruptHook),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_processor = dict(type=LogProcessor, window_size=1, by_epoch=True)
visualizer = dict(
    type=Visualizer,
    vis_backends=[dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)],
)
