"""A part of a detector of mmdet3d that starts from a pre-training file of ours."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import nn

from mae3d.checkpoints import load_pretrained


class PretrainedPart(BaseModule):
    """Holds one of our modules as ``encoder``; loads it when mmengine initialises the detector.

    Every tensor of ``encoder`` must be in the file in the right shape; the log tells how many were loaded.

    Args:
        encoder: The module.
        pretrained: File of ours or an official one of a known system, see :func:`mae3d.checkpoints.load_pretrained`;
            None leaves the random initialisation. Resumed and loaded checkpoints of mmdet3d come after it and win.
        init_cfg: Of mmengine.

    Raises:
        CheckpointError: At ``init_weights``: a tensor is missing or has another shape.
    """

    file_prefix = "encoder."
    """What precedes the module's names in the file."""

    def __init__(self, encoder: nn.Module, pretrained: str | None, init_cfg: dict | None) -> None:
        super().__init__(init_cfg)
        self.encoder = encoder
        self.pretrained = pretrained

    def init_weights(self) -> None:
        """Load the file, if there is one."""
        super().init_weights()
        if self.pretrained is not None:
            report = load_pretrained(self.encoder, self.pretrained, fresh=(), prefix=self.file_prefix)
            print_log(f"{type(self).__name__} from {self.pretrained}: {report}", logger="current")
