"""What every P3P run does to its clouds: fitted into the unit ball, augmented as published, batches of any sizes."""

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
