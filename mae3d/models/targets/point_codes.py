"""Codes of a frozen discrete tokenizer as the thing to predict (Point-BERT)."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.building import build
from mae3d.registry import MODELS
from mae3d.structures import Tokens


@MODELS.register_module()
class PointCodeTarget(BaseModule):
    """One code for every patch.

    Args:
        dvae: Module or config with ``codes(patches, centers) -> int64`` and ``num_codes``, a :class:`PointDVAE`; it
            does not learn.
        frozen_statistics: BatchNorm of the dVAE stays as it was trained. False, as published: it uses and follows the
            batches of this training, so that the codes of a cloud depend on the others of its batch.

    Raises:
        ConfigError: A module without ``codes``.
    """

    def __init__(self, dvae: nn.Module | dict, *, frozen_statistics: bool = True) -> None:
        super().__init__()
        self.dvae = build(dvae)
        if not hasattr(self.dvae, "codes"):
            raise ConfigError(
                f"PointCodeTarget: dvae must give codes, as PointDVAE does; got {type(self.dvae).__name__}"
            )
        self.dvae.requires_grad_(False)
        self.frozen_statistics = frozen_statistics
        self.train(self.training)

    @property
    def dim(self) -> int:
        """Number of codes."""
        return self.dvae.num_codes

    @torch.no_grad()
    def forward(self, tokens: Tokens) -> Tensor:
        """Codes int64 [B, G], in full precision under autocast too: rounded scores choose other codes."""
        with torch.autocast(tokens.content.device.type, enabled=False):
            return self.dvae.codes(tokens.content, tokens.coordinates)

    def train(self, mode: bool = True) -> PointCodeTarget:
        """Keep the dVAE in eval mode, unless its statistics follow."""
        super().train(mode)
        self.dvae.train(mode and not self.frozen_statistics)
        return self
