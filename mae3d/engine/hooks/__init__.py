"""Hooks of the runner; importing the package registers them."""

from mae3d.engine.hooks.checkpoint import AtomicCheckpointHook
from mae3d.engine.hooks.compile import CompileHook, GradientCheckpointingHook
from mae3d.engine.hooks.interrupt import InterruptHook
from mae3d.engine.hooks.nan_guard import NonFiniteLossHook
from mae3d.engine.hooks.progress import BoundedHistoryHook, ScalarsHook, ThroughputHook
from mae3d.engine.hooks.record import MetricRecordHook, RunRecordHook

__all__ = [
    "AtomicCheckpointHook",
    "BoundedHistoryHook",
    "CompileHook",
    "GradientCheckpointingHook",
    "InterruptHook",
    "MetricRecordHook",
    "NonFiniteLossHook",
    "RunRecordHook",
    "ScalarsHook",
    "ThroughputHook",
]
