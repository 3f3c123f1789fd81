"""Runs of several processes."""

from mae3d.engine.distributed.sharding import ShardedStrategy

__all__ = ["ShardedStrategy"]
