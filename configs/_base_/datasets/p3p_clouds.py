"""What P3P does to clouds that have z up: fitted into the unit ball, augmented as published, batches of any sizes."""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import FitUnitBall, RandomMirrorX, RotateZ, ScaleInsideBall

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=RandomMirrorX),
        dict(type=RotateZ),
        dict(type=FitUnitBall),
        dict(type=ScaleInsideBall, low=0.5),
    ],
    test_transforms=[dict(type=FitUnitBall)],
)
