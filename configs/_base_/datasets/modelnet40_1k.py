"""ModelNet40 classification with 1024 points."""

from mae3d.datasets.objects import ModelNet40
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import SampleFarthest, ScaleAndTranslate
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=SampleFarthest, npoints=1024, pool="published", skip_near_origin=1e-3),
        dict(type=ScaleAndTranslate),
    ],
    test_transforms=[dict(type=SampleFarthest, npoints=1024, skip_near_origin=1e-3)],
)
train_dataloader = dict(
    dataset=dict(type=ModelNet40, root="data/ModelNet/modelnet40_normal_resampled", split="train"),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(type=ModelNet40, root="data/ModelNet/modelnet40_normal_resampled", split="test"),
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
