# python tools/train.py configs/fastdit3d/dit3d_s4_10000e_airplane.py
"""DiT-3D-S/4 on the airplanes of ShapeNetCore.v2.PC15k: 32^3 voxels, patches of 4^3.

Batches of 16, as in the published script. Airplanes take the schedule warm0.1.

To evaluate: tools/test.py with this file and the checkpoint; all 1000 steps are sampled.
"""

from mmengine.config import read_base

from mae3d.models.methods import DiT3D

with read_base():
    from .._base_.datasets.shapenet15k import *
    from .._base_.runtime import *
    from .._base_.schedules.dit3d_10000e import *

model = dict(
    type=DiT3D,
    resolution=32,
    patch_size=4,
    num_classes=1,
    diffusion=dict(schedule="warm0.1"),
    sampling=dict(sampler="ddpm"),
)
train_dataloader.update(batch_size=16)
train_dataloader["dataset"].update(categories=["airplane"])
test_dataloader["dataset"].update(categories=["airplane"])
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=100, max_keep=2))
