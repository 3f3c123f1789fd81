"""Which tokens an encoder sees and which it must predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` [B, S] of ``values`` [B, N, ...], per sample."""
    trailing = values.shape[2:]
    wide = index.reshape(*index.shape, *[1] * len(trailing)).expand(*index.shape, *trailing)
    return values.gather(1, wide)


@dataclass(frozen=True)
class Mask:
    """A split of N dense tokens into visible and masked ones, the same counts for every sample.

    Attributes:
        visible: int64 [B, V], ascending token indices that the encoder sees.
        masked: int64 [B, M], ascending token indices that are hidden; V + M = N.
    """

    visible: Tensor
    masked: Tensor

    def __post_init__(self) -> None:
        for name, index in (("visible", self.visible), ("masked", self.masked)):
            if index.dim() != 2 or index.dtype != torch.int64:
                raise ValueError(f"Mask.{name} must be int64 [B, count], got {index.dtype} {list(index.shape)}")
        if self.visible.shape[0] != self.masked.shape[0]:
            raise ValueError(
                f"Mask.visible and Mask.masked must have one row per sample, got {self.visible.shape[0]} rows "
                f"and {self.masked.shape[0]} rows"
            )

    @classmethod
    def from_bool(cls, masked: Tensor) -> Mask:
        """Mask from bool [B, N], True where hidden; every row must hide the same number of tokens.

        Raises:
            ValueError: The rows hide different numbers of tokens.
        """
        counts = masked.sum(dim=1)
        if counts.numel() and not bool((counts == counts[0]).all()):
            raise ValueError(
                f"Mask.from_bool needs the same number of masked tokens in every row, got {counts.tolist()}"
            )
        return cls.from_order(masked.long().argsort(dim=1, stable=True), int(counts[0]) if counts.numel() else 0)

    @classmethod
    def from_order(cls, order: Tensor, num_masked: int) -> Mask:
        """Mask that hides the last ``num_masked`` entries of each permutation ``order`` [B, N]."""
        split = order.shape[1] - num_masked
        return cls(order[:, :split].sort(dim=1).values, order[:, split:].sort(dim=1).values)

    @classmethod
    def none(cls, batch_size: int, num_tokens: int, device: torch.device | str | None = None) -> Mask:
        """Mask that hides nothing."""
        visible = torch.arange(num_tokens, device=device).expand(batch_size, -1)
        return cls(visible, visible[:, :0])

    @property
    def num_visible(self) -> int:
        """V."""
        return self.visible.shape[1]

    @property
    def num_masked(self) -> int:
        """M."""
        return self.masked.shape[1]

    @property
    def num_tokens(self) -> int:
        """N = V + M."""
        return self.num_visible + self.num_masked

    def gather_visible(self, values: Tensor) -> Tensor:
        """Visible rows of ``values`` [B, N, ...] -> [B, V, ...], ascending token order."""
        return _take(values, self.visible)

    def gather_masked(self, values: Tensor) -> Tensor:
        """Masked rows of ``values`` [B, N, ...] -> [B, M, ...], ascending token order."""
        return _take(values, self.masked)

    def restore(self, visible: Tensor, masked: Tensor) -> Tensor:
        """Inverse of the two gathers: [B, V, ...] and [B, M, ...] -> [B, N, ...] in token order."""
        order = torch.cat((self.visible, self.masked), dim=1).argsort(dim=1)
        return _take(torch.cat((visible, masked), dim=1), order)

    def to_bool(self) -> Tensor:
        """Bool [B, N], True where hidden."""
        masked = torch.zeros(self.visible.shape[0], self.num_tokens, dtype=torch.bool, device=self.visible.device)
        return masked.scatter(1, self.masked, True)

    def to(self, device: torch.device | str) -> Mask:
        """The same mask on ``device``."""
        return Mask(self.visible.to(device), self.masked.to(device))
