"""ShapeNetCore.v2.PC15k: one class, 2048 points drawn anew from the first 10,000; reference clouds from the rest."""

from mae3d.datasets.objects import ShapeNet15k
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.engine.loops import EvaluationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import GenerationMetric

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=ShapeNet15k,
        root="data/ShapeNetCore.v2.PC15k",
        split="train",
        categories=["chair"],
        npoints=2048,
        keep_in_memory=True,
    ),
    sampler=dict(type=EpochSampler),
    batch_size=16,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
test_dataloader = dict(
    dataset=dict(
        type=ShapeNet15k,
        root="data/ShapeNetCore.v2.PC15k",
        split="val",
        categories=["chair"],
        stored="reference",
        sampling="first",
        npoints=2048,
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=64,
    num_workers=4,
    pin_memory=True,
)
test_cfg = dict(type=EvaluationLoop)
test_evaluator = dict(type=GenerationMetric)
