"""Spoken digits for pre-training, with a linear probe and pictures of the held-out numbers.

--cfg-options train_dataloader.dataset.root=PATH custom_hooks.0.train_dataloader.dataset.root=PATH
    custom_hooks.0.test_dataloader.dataset.root=PATH custom_hooks.1.dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.datasets.transforms.audio import RandomGain
from mae3d.engine.hooks import ProbeHook, ReconstructionHook

with read_base():
    from .digits import *

data_preprocessor.update(train_transforms=[dict(type=RandomGain), *data_preprocessor["test_transforms"]])
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=20,
        kind="linear",
        train_dataloader=dict(
            dataset=train_dataloader["dataset"],
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=48,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(train_dataloader["dataset"], select=r"_[0-2]\.wav$"),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=48,
            num_workers=0,
        ),
    ),
    dict(type=ReconstructionHook, interval=20),
]
custom_hooks[1].update(dataloader=custom_hooks[0]["test_dataloader"])  # pictures of what the probe is judged on
