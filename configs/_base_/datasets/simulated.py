"""Simulated objects, made in memory: no files are needed."""

from mae3d.datasets.objects import SimulatedObjects
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import ScaleAndTranslate
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor, train_transforms=[dict(type=ScaleAndTranslate)])
train_dataloader = dict(
    dataset=dict(type=SimulatedObjects, count=160, split="train", npoints=512, stored_points=1024),
    sampler=dict(type=EpochSampler),
    batch_size=16,
    num_workers=0,
    drop_last=True,
)
