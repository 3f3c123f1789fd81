"""How much a frozen feature knows about the class: nearest neighbours, a linear layer, a linear SVM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mae3d.errors import ConfigError
from mae3d.evaluation.linear_svm import LinearSVM


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, *, k: int = 20) -> float:
    """Accuracy of the vote of the ``k`` training features with the largest cosine similarity.

    Votes weigh ``exp(similarity / 0.07)`` (Wu et al., CVPR 2018, as DINO evaluates it).

    Args:
        train: [T, D] features.
        train_labels: int64 [T].
        test: [S, D] features.
        test_labels: int64 [S].
        k: Number of neighbours, at most T.
    """
    similarity = _unit(test) @ _unit(train).T  # [S, T]
    nearest = similarity.topk(min(k, len(train)), dim=1)
    votes = similarity.new_zeros(len(test), int(train_labels.max()) + 1)
    votes.scatter_add_(1, train_labels[nearest.indices], (nearest.values / 0.07).exp())
    return _share(votes.argmax(1) == test_labels)


def linear_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, *, penalty: float = 1e-3
) -> float:
    """Accuracy of least squares on one-hot classes with a ridge, features standardised: a linear probe in one solve.

    Args:
        train: [T, D] features.
        train_labels: int64 [T].
        test: [S, D] features.
        test_labels: int64 [S].
        penalty: Ridge in units of the features' variance times T.
    """
    mean, spread = train.double().mean(0), train.double().std(0).clamp_min(1e-12)
    x, y = (train.double() - mean) / spread, (test.double() - mean) / spread
    target = torch.nn.functional.one_hot(train_labels).double()
    center = target.mean(0)
    gram = x.T @ x + penalty * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ (target - center))
    return _share((y @ weights + center).argmax(1) == test_labels)


def svm_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy of a linear support vector machine, by Point-BERT's protocol (see :class:`LinearSVM`).

    Args:
        train: [T, D] features.
        train_labels: int64 [T].
        test: [S, D] features.
        test_labels: int64 [S].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    machine = LinearSVM("point_bert")
    machine.process(train, train_labels, train=True)
    machine.process(test, test_labels)
    return machine.compute()["accuracy"]


PROBES: dict[str, Callable[..., float]] = {"knn": knn_accuracy, "linear": linear_accuracy, "svm": svm_accuracy}


def find_probe(name: str) -> Callable[..., float]:
    """Return a probe by its name.

    Raises:
        ConfigError: There is none.
    """
    if name not in PROBES:
        raise ConfigError(f"probe {name!r} is unknown, expected one of {sorted(PROBES)}")
    return PROBES[name]


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)


def _share(correct: Tensor) -> float:
    return float(correct.double().mean())
