"""ShapeNetPart segmentation with 2048 points drawn with replacement, as published."""

from mae3d.datasets.objects import ShapeNetPart
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import ScaleAndTranslate
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import PartIoU

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=ScaleAndTranslate, low=0.8, high=1.25, limit=0.1, isotropic=True)],
)
train_dataloader = dict(
    dataset=dict(
        type=ShapeNetPart,
        root="data/shapenetcore_partanno_segmentation_benchmark_v0_normal",
        split="trainval",
        npoints=2048,
    ),
    sampler=dict(type=EpochSampler),
    batch_size=16,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(
        type=ShapeNetPart,
        root="data/shapenetcore_partanno_segmentation_benchmark_v0_normal",
        split="test",
        npoints=2048,
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=PartIoU)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
