"""ShapeNet55 for pre-training: 1024 random points of 8192, normalised, scaled and moved."""

from mae3d.datasets.objects import ShapeNet55
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import ScaleAndTranslate
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor, train_transforms=[dict(type=ScaleAndTranslate)])
train_dataloader = dict(
    dataset=dict(type=ShapeNet55, root="data/ShapeNet55-34", split="train", npoints=1024),
    sampler=dict(type=EpochSampler),
    batch_size=128,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
