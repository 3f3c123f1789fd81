"""ScanObjectNN classification with 2048 points; the configs choose the variant."""

from mae3d.datasets.objects import ScanObjectNN
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import SampleFarthest, ScaleAndTranslate
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=SampleFarthest, npoints=2048, pool="published", skip_near_origin=1e-3),
        dict(type=ScaleAndTranslate),
    ],
    test_transforms=[dict(type=SampleFarthest, npoints=2048, skip_near_origin=1e-3)],
)
train_dataloader = dict(
    dataset=dict(type=ScanObjectNN, root="data/ScanObjectNN", split="train", variant="PB_T50_RS"),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(type=ScanObjectNN, root="data/ScanObjectNN", split="test", variant="PB_T50_RS"),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
