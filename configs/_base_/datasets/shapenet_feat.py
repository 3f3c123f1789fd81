"""ShapeNet with normals and surface variations: 1024 random points of 50,000, turned about y and scaled as a whole."""

from mae3d.datasets.objects import ShapeNetFeat
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import RandomScale, RotateY
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor, train_transforms=[dict(type=RotateY), dict(type=RandomScale, isotropic=True)]
)
train_dataloader = dict(
    dataset=dict(type=ShapeNetFeat, root="data/ShapeNetFeat", split="train", whole=True, npoints=1024),
    sampler=dict(type=EpochSampler),
    batch_size=48,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
