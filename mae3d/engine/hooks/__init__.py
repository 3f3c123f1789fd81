"""Hooks of the runner; importing the package registers them."""

from mae3d.engine.hooks.accumulation import AccumulationHook
from mae3d.engine.hooks.batch_norm import BatchNormMomentumHook
from mae3d.engine.hooks.checkpoint import AtomicCheckpointHook
from mae3d.engine.hooks.compile import CompileHook
from mae3d.engine.hooks.cost import CostHook
from mae3d.engine.hooks.interrupt import InterruptHook
from mae3d.engine.hooks.nan_guard import NonFiniteLossHook
from mae3d.engine.hooks.probe import ProbeHook, ReconstructionHook
from mae3d.engine.hooks.progress import BoundedHistoryHook, ScalarsHook, ThroughputHook
from mae3d.engine.hooks.record import MetricRecordHook, RunRecordHook
from mae3d.engine.hooks.similarity_probe import SimilarityProbeHook
from mae3d.engine.hooks.skipped import SkippedSamplesHook
from mae3d.engine.hooks.time_limit import TimeLimitHook
from mae3d.engine.hooks.trim import TrimMemoryHook
from mae3d.engine.hooks.whole_clouds import WholeCloudsHook

__all__ = [
    "AccumulationHook",
    "AtomicCheckpointHook",
    "BatchNormMomentumHook",
    "BoundedHistoryHook",
    "CompileHook",
    "CostHook",
    "InterruptHook",
    "MetricRecordHook",
    "NonFiniteLossHook",
    "ProbeHook",
    "ReconstructionHook",
    "RunRecordHook",
    "ScalarsHook",
    "SimilarityProbeHook",
    "SkippedSamplesHook",
    "ThroughputHook",
    "TimeLimitHook",
    "TrimMemoryHook",
    "WholeCloudsHook",
]
