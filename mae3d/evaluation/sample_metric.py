"""Base of metrics that look at one sample at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from torch import Tensor

from mae3d.errors import DataError


class SampleMetric(BaseMetric):
    """A metric over predictions ``{field: tensor}``, one per sample; usable alone and in mmengine's evaluator.

    Alone: ``metric.process(predictions)`` for each batch, then ``metric.compute()``. In an evaluator the runner does
    both, gathers the samples of all processes, and drops the copies that padding added.

    Args:
        prefix: Put before the names of the results, ``prefix/name``; None takes the class's own.
        collect_device: Where mmengine gathers results of several processes, "cpu" or "gpu".
    """

    fields: tuple[str, ...] = ()
    """What every prediction must hold."""
    optional: tuple[str, ...] = ()
    """What is taken along where predictions hold it."""

    def __init__(self, prefix: str | None = None, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Tensor]] | None = None) -> None:
        """Take in one batch of predictions, alone or as mmengine's second argument.

        Raises:
            DataError: A prediction lacks a field.
        """
        for sample in data_batch if data_samples is None else data_samples:
            missing = [name for name in self.fields if name not in sample]
            if missing:
                raise DataError(
                    f"{type(self).__name__} needs {', '.join(self.fields)} of every sample, got {sorted(sample)}; "
                    f"the model's predict mode must give {', '.join(missing)}"
                )
            present = [name for name in (*self.fields, *self.optional) if name in sample]
            self.results.append(self.summarize({name: sample[name].detach().cpu() for name in present}))

    def compute(self) -> dict[str, float]:
        """Results over everything processed so far in this process."""
        if not self.results:
            raise DataError(f"{type(self).__name__}.compute: nothing was processed")
        return self.compute_metrics(self.results)

    @abstractmethod
    def summarize(self, sample: dict[str, Tensor]) -> Any:
        """What to keep of one sample."""
