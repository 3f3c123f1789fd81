"""What P3P does to the clouds of object data sets, which have y up: as in p3p_clouds, with z up first."""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import FitUnitBall, RandomMirrorX, RotateZ, ScaleInsideBall, SwapYZ

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=SwapYZ),
        dict(type=RandomMirrorX),
        dict(type=RotateZ),
        dict(type=FitUnitBall),
        dict(type=ScaleInsideBall, low=0.5),
    ],
    test_transforms=[dict(type=SwapYZ), dict(type=FitUnitBall)],
)
