"""Scatter reductions beside torch's own: 300 000 rows of 64 channels to 40 000, forward and forward + backward."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, run
from mae3d.ops import scatter_reduce

TITLE = "Scatter, 300 000 x 64 to 40 000 rows"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NATIVE = {"mean": "mean", "max": "amax", "sum": "sum"}


def native(features: Tensor, index: Tensor, rows: int, reduce: str) -> Tensor:
    columns = index[:, None].expand_as(features)
    return features.new_zeros(rows, features.shape[1]).scatter_reduce(
        0, columns, features, NATIVE[reduce], include_self=False
    )


def with_backward(function, features: Tensor, *args) -> Call:
    features = features.clone().requires_grad_()

    def call() -> Tensor:
        features.grad = None
        function(features, *args).sum().backward()
        return features.grad

    return call


def cases() -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300_000, 64, generator=generator).to(DEVICE)
    index = torch.randint(0, 40_000, (300_000,), generator=generator).to(DEVICE)
    listed = []
    for reduce in ("mean", "max"):
        args = (index, 40_000, reduce)
        listed.append(
            Case(
                f"{reduce} forward",
                lambda args=args: scatter_reduce(features, *args),
                {"torch.scatter_reduce": lambda args=args: native(features, *args)},
                bytes_moved=features.nbytes + index.nbytes + 40_000 * 64 * 4.0,
            )
        )
        listed.append(
            Case(
                f"{reduce} forward + backward",
                with_backward(scatter_reduce, features, *args),
                {"torch.scatter_reduce": with_backward(native, features, *args)},
            )
        )
    return listed


if __name__ == "__main__":
    run(TITLE, cases())
