"""Gathering rows by index, forward and backward, beside torch: python -m benchmarks.bm_gather_points."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.harness import Case, mmcv_ops, run
from mae3d.ops import gather_points

TITLE = "Gather points"
SIZES = {  # name -> batch, points, rows, channels
    "patches 32 x 1024 -> 64 x 32, xyz": (32, 1024, 64 * 32, 3),
    "features 32 x 1024 -> 64 x 32, 128": (32, 1024, 64 * 32, 128),
    "one scene 120 000 -> 16 384 x 16, 32": (1, 120_000, 16_384 * 16, 32),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def indexing(features: Tensor, indices: Tensor) -> Tensor:
    return features[torch.arange(len(features), device=features.device)[:, None], indices]


def torch_gather(features: Tensor, indices: Tensor) -> Tensor:
    return features.gather(1, indices[..., None].expand(-1, -1, features.shape[2]))


def channels_first(grouping_operation):
    """mmcv's operator on our layout; its own layout is prepared once per tensor, outside the timing."""
    prepared: dict[int, Tensor] = {}

    def call(features: Tensor, indices: Tensor) -> Tensor:
        if id(indices) not in prepared:
            prepared[id(indices)] = indices.int()[:, :, None].contiguous()
        return grouping_operation(features.mT.contiguous(), prepared[id(indices)])[..., 0].mT

    return call


def cases() -> list[Case]:
    """Forward alone, then with the gradient."""
    result = []
    for name, (batch, points, rows, channels) in SIZES.items():
        g = torch.Generator().manual_seed(0)
        features = torch.randn(batch, points, channels, generator=g).to(DEVICE)
        indices = torch.randint(0, points, (batch, rows), generator=g).to(DEVICE)
        upstream = torch.randn(batch, rows, channels, generator=g).to(DEVICE)
        leaf = features.clone().requires_grad_()

        def forward(function, f=features, i=indices):
            return lambda: function(f, i)

        def both(function, f=leaf, i=indices, u=upstream):
            return lambda: torch.autograd.grad(function(f, i), f, u)

        for suffix, call in ((", forward", forward), (", forward + backward", both)):
            peers = {"torch indexing": call(indexing), "torch gather": call(torch_gather)}
            case = Case(name + suffix, call(gather_points), peers)
            rows_moved = features.nbytes + upstream.nbytes + indices.nbytes
            case.bytes_moved = rows_moved * (2.0 if "backward" in suffix else 1.0)
            mmcv = mmcv_ops(case.absent)
            if mmcv and DEVICE == "cuda":  # its layout: [B, C, N] and int32 indices [B, M, K]
                case.peers["mmcv"] = call(channels_first(mmcv.grouping_operation))
            result.append(case)
    return result


if __name__ == "__main__":
    run(TITLE, cases())
