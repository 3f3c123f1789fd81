"""Which tokens of a batch are asked about, a different number in each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RaggedMask:
    """Hidden tokens of a dense batch of B N tokens, for encoders that take all tokens with mask tokens in the gaps.

    Attributes:
        masked: Bool [B, N], True where a mask token stands.
        source: int64 [B, N], the row (of the B N tokens) whose feature stands in this place to be found out, -1 where a
            token keeps its own. None: no token is replaced.
    """

    masked: Tensor
    source: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value, dtype in (("masked", self.masked, torch.bool), ("source", self.source, torch.int64)):
            if value is not None and (value.shape != self.masked.shape or value.dim() != 2 or value.dtype != dtype):
                raise ValueError(f"RaggedMask.{name} must be {dtype} [B, N], got {value.dtype} {list(value.shape)}")

    @property
    def asked(self) -> Tensor:
        """Bool [B, N], tokens that a model must predict: hidden and replaced ones."""
        return self.masked if self.source is None else self.masked | (self.source >= 0)

    def gather_visible(self, values: Tensor) -> Tensor:
        """Rows of ``values`` [B, N, ...] that are not hidden -> [visible, ...], sample after sample."""
        return values[~self.masked]

    def gather_asked(self, values: Tensor) -> Tensor:
        """Rows of ``values`` [B, N, ...] to be predicted -> [asked, ...], sample after sample."""
        return values[self.asked]

    def to(self, device: torch.device | str) -> RaggedMask:
        """The same mask on ``device``."""
        return RaggedMask(self.masked.to(device), None if self.source is None else self.source.to(device))
