"""What a run needs beyond mmengine's runner; importing the package registers hooks, loops, optimizers and samplers."""

from mae3d.engine.distributed import ShardedStrategy
from mae3d.engine.hooks import (
    AccumulationHook,
    AtomicCheckpointHook,
    BoundedHistoryHook,
    CompileHook,
    InterruptHook,
    MetricRecordHook,
    NonFiniteLossHook,
    ProbeHook,
    ReconstructionHook,
    RunRecordHook,
    ScalarsHook,
    ThroughputHook,
    TimeLimitHook,
    TrimMemoryHook,
    WholeCloudsHook,
)
from mae3d.engine.loops import EpochLoop, EvaluationLoop, IterationLoop, ProbeLoop, ValidationLoop
from mae3d.engine.optim import LARS, PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR
from mae3d.engine.sampling import EpochSampler, SeededDataset
from mae3d.engine.seeding import SeedHook
from mae3d.engine.storage import AtomicLocalBackend, find_checkpoint, load_from_mae3d

__all__ = [
    "LARS",
    "AccumulationHook",
    "AtomicCheckpointHook",
    "AtomicLocalBackend",
    "BoundedHistoryHook",
    "CompileHook",
    "EpochLoop",
    "EpochSampler",
    "EvaluationLoop",
    "InterruptHook",
    "IterationLoop",
    "MetricRecordHook",
    "NonFiniteLossHook",
    "PrecisionOptimWrapper",
    "ProbeHook",
    "ProbeLoop",
    "ReconstructionHook",
    "RunRecordHook",
    "ScalarsHook",
    "SeedHook",
    "SeededDataset",
    "ShardedStrategy",
    "ThroughputHook",
    "TimeLimitHook",
    "TransformerOptimConstructor",
    "TrimMemoryHook",
    "ValidationLoop",
    "WarmupCosineLR",
    "WholeCloudsHook",
    "find_checkpoint",
    "load_from_mae3d",
]
