"""Optimizer step, parameter groups and learning-rate schedules."""

from mae3d.engine.optim.cosine import WarmupCosineLR
from mae3d.engine.optim.groups import TransformerOptimConstructor
from mae3d.engine.optim.lars import LARS
from mae3d.engine.optim.linear import WarmupLinearLR
from mae3d.engine.optim.one_cycle import OneCycleMomentum, OneCycleRate
from mae3d.engine.optim.scaling import scale_learning_rate
from mae3d.engine.optim.wrapper import PrecisionOptimWrapper

__all__ = [
    "LARS",
    "OneCycleMomentum",
    "OneCycleRate",
    "PrecisionOptimWrapper",
    "TransformerOptimConstructor",
    "WarmupCosineLR",
    "WarmupLinearLR",
    "scale_learning_rate",
]
