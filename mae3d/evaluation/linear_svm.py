"""Linear support vector machines on frozen features, by the published protocols of the object-point family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mae3d.errors import ConfigError, DataError, MissingExtraError
from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS


@dataclass(frozen=True)
class SvmProtocol:
    """One published way to fit the machine.

    Attributes:
        solver: "linear_svc" (liblinear: one against the rest, squared hinge) or "svc" (libsvm: one against one, hinge).
        C: Inverse strength of the regularisation.
        pooling: Which feature the system takes, see ``MaskedAutoencoder.extract_features``; None: its own projection.
        drop_last: Batch size whose incomplete last batch of the training set the official loader drops, None for none.
    """

    solver: Literal["linear_svc", "svc"]
    C: float
    pooling: str | None
    drop_last: int | None = None


PROTOCOLS = {
    "point_bert": SvmProtocol("linear_svc", 1.0, None, 256),
    "i2p_mae": SvmProtocol("svc", 0.0093, "max"),
    "i2p_mae_selection": SvmProtocol("svc", 0.01, "max"),
    "i2p_mae_scanobjectnn": SvmProtocol("svc", 0.018, "max"),
    "maskfeat3d": SvmProtocol("linear_svc", 1.0, "max"),
}
"""Name -> protocol. ``i2p_mae`` is the setting of its final ModelNet40 figure; the two others of that system choose
checkpoints during pre-training and score ScanObjectNN OBJ_BG."""


class LinearSVM:
    """Accuracy of a linear SVM fitted on training features.

    ``process(features, labels, train=True)`` takes training batches, ``process(features, labels)`` test batches;
    ``compute`` fits and scores.

    Args:
        protocol: Name in :data:`PROTOCOLS`, or a protocol.
        drop_last: Leave out the incomplete last batch as the protocol's official loader does.
    """

    def __init__(self, protocol: str | SvmProtocol = "point_bert", *, drop_last: bool = False) -> None:
        if isinstance(protocol, str) and protocol not in PROTOCOLS:
            raise ConfigError(f"LinearSVM: protocol must be one of {sorted(PROTOCOLS)}, got {protocol!r}")
        self.protocol = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
        self.drop_last = drop_last
        self._train: list[tuple[Tensor, Tensor]] = []
        self._test: list[tuple[Tensor, Tensor]] = []

    def process(self, features: Tensor, labels: Tensor, *, train: bool = False) -> None:
        """Take in features [B, D] and labels [B]."""
        batch = features.detach().float().cpu(), labels.detach().reshape(-1).cpu()
        (self._train if train else self._test).append(batch)

    def compute(self) -> dict[str, float]:
        """``{"accuracy": share of right test samples}``.

        Raises:
            DataError: There are no training or no test features.
            MissingExtraError: scikit-learn is not installed.
        """
        if not self._train or not self._test:
            raise DataError(
                f"LinearSVM: got {len(self._train)} training and {len(self._test)} test batches, needs both"
            )
        features, labels = _join(self._train)
        if self.drop_last and self.protocol.drop_last:
            whole = len(features) // self.protocol.drop_last * self.protocol.drop_last
            features, labels = features[:whole], labels[:whole]
        machine = self._machine()
        machine.fit(features, labels)
        return {"accuracy": float(machine.score(*_join(self._test)))}

    def _machine(self) -> Any:
        try:
            from sklearn.svm import SVC, LinearSVC
        except ImportError:
            raise MissingExtraError("scikit-learn", "objects", "the linear SVM") from None
        if self.protocol.solver == "svc":
            return SVC(C=self.protocol.C, kernel="linear")
        return LinearSVC(C=self.protocol.C, random_state=0)


@METRICS.register_module()
class SvmAccuracy(SampleMetric):
    """Accuracy of a linear SVM on frozen features, as a metric of the runner (see `mae3d.engine.loops.ProbeLoop`).

    Takes ``features`` [D] and ``label`` per test sample, after :meth:`fit`. Gives ``accuracy``.

    Args:
        protocol: See :class:`LinearSVM`.
        drop_last: See :class:`LinearSVM`.
        prefix: See :class:`SampleMetric`.
        collect_device: See :class:`SampleMetric`.
    """

    default_prefix = "svm"
    fields = ("features", "label")

    def __init__(
        self,
        protocol: str | SvmProtocol = "point_bert",
        *,
        drop_last: bool = False,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix, collect_device)
        self._machine = LinearSVM(protocol, drop_last=drop_last)

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Take the training features [T, D] and labels [T]."""
        self._machine.process(features, labels, train=True)

    def summarize(self, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Feature and label."""
        return sample["features"].float(), sample["label"]

    def compute_metrics(self, results: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """See the class."""
        features, labels = zip(*results)
        self._machine.process(torch.stack(features), torch.stack(labels))
        return self._machine.compute()


def _join(batches: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    features, labels = zip(*batches)
    return torch.cat(features).numpy(), torch.cat(labels).numpy()
