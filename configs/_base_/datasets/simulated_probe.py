"""Simulated objects with a linear probe on held-out ones, every fifth epoch."""

from mmengine.config import read_base

from mae3d.engine.hooks import ProbeHook

with read_base():
    from .simulated import *

_objects = dict(type=SimulatedObjects, count=160, npoints=512, stored_points=1024)
_loader = dict(sampler=dict(type=EpochSampler, shuffle=False), batch_size=64, num_workers=0)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=5,
        kind="linear",
        train_dataloader=dict(dataset=dict(split="train", **_objects), **_loader),
        test_dataloader=dict(dataset=dict(split="test", **_objects), **_loader),
    )
]
