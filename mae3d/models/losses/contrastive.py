"""Contrastive loss of queries and passages over all processes, and distillation from a teacher's scores."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from mae3d.errors import DataError

Reduction = Literal["element", "query"]


class _Gather(torch.autograd.Function):
    """Rows of all processes, in the order of their ranks."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # Every process computes the loss of all rows, and data parallelism divides by their number: its own rows'
        # share times that number is the gradient of the one loss.
        world, rank = distributed.get_world_size(), distributed.get_rank()
        return gradient.chunk(world)[rank] * world


def gather_rows(rows: Tensor) -> Tensor:
    """Rows [N, ...] of every process [W N, ...] with gradients; the rows themselves where there is one process.

    All processes must have the same N.
    """
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return rows
    return _Gather.apply(rows)


def inner_products(first: Tensor, second: Tensor) -> Tensor:
    """Products [N, M] of rows [N, D] and [M, D], at least in float32, under autocast too.

    The vectors of BERT have products in the hundreds, where bfloat16 tells whole numbers apart at best.
    """
    with torch.autocast(first.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
        return first.to(wide) @ second.to(wide).T


def contrastive_loss(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross entropy of each query against all passages, at least in float32.

    Args:
        scores: [Q, Q G], similarities; passage ``q G`` answers query q, all others do not.
        temperature: Divides the scores.

    Raises:
        DataError: The number of passages is no multiple of that of queries.
    """
    queries, passages = scores.shape
    if passages % queries:
        raise DataError(f"contrastive_loss: {passages} passages are not the same number for each of {queries} queries")
    answers = torch.arange(queries, device=scores.device) * (passages // queries)
    return F.cross_entropy(scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature, answers)


def distillation_loss(
    scores: Tensor, teacher: Tensor, temperature: float = 1.0, reduction: Reduction = "element"
) -> Tensor:
    """Kullback-Leibler divergence from a teacher's distribution over a query's passages to the student's.

    Args:
        scores: [Q, G], similarities of each query and its own passages.
        teacher: [Q, G], the teacher's scores.
        temperature: Divides the student's scores.
        reduction: "element" divides by Q G, as the official code does; "query" by Q, the mean divergence.
    """
    student = scores.to(torch.promote_types(scores.dtype, torch.float32)).div(temperature).log_softmax(dim=-1)
    target = teacher.to(student.dtype).softmax(dim=-1)
    divergence = F.kl_div(student, target, reduction="sum")
    return divergence / (scores.numel() if reduction == "element" else len(scores))
