"""What a run needs beyond mmengine's runner; importing the package registers hooks, loops, optimizers and samplers."""

from mae3d.engine.hooks import (
    AtomicCheckpointHook,
    BoundedHistoryHook,
    CompileHook,
    GradientCheckpointingHook,
    InterruptHook,
    MetricRecordHook,
    NonFiniteLossHook,
    RunRecordHook,
    ScalarsHook,
    ThroughputHook,
)
from mae3d.engine.loops import EpochLoop, EvaluationLoop, IterationLoop, ValidationLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR
from mae3d.engine.sampling import EpochSampler, SeededDataset
from mae3d.engine.seeding import SeedHook
from mae3d.engine.storage import AtomicLocalBackend, find_checkpoint, load_from_mae3d

__all__ = [
    "AtomicCheckpointHook",
    "AtomicLocalBackend",
    "BoundedHistoryHook",
    "CompileHook",
    "EpochLoop",
    "EpochSampler",
    "EvaluationLoop",
    "GradientCheckpointingHook",
    "InterruptHook",
    "IterationLoop",
    "MetricRecordHook",
    "NonFiniteLossHook",
    "PrecisionOptimWrapper",
    "RunRecordHook",
    "ScalarsHook",
    "SeedHook",
    "SeededDataset",
    "ThroughputHook",
    "TransformerOptimConstructor",
    "ValidationLoop",
    "WarmupCosineLR",
    "find_checkpoint",
    "load_from_mae3d",
]
