"""T-MAE: Temporal Masked Autoencoders for Point Cloud Representation Learning (Wei et al., arXiv 2312.10217).

    previous frame, moved into the current sensor's frame --pillars, all of them--> the pyramid of GD-MAE
    current frame --pillars, three quarters removed--> the same pyramid, the same weights
    at each scale: current tokens ask the previous ones in their window (cross-attention); then as GD-MAE

Differs from :class:`GDMAE` in: the previous frame, cross-attention, a mask ratio of 0.75, BatchNorm of the pillar
encoder with torch's own epsilon and momentum. Its statistics see the frames as two batches, the current one first. The
time between the frames does not enter.

Official code and this: the switches of :class:`GDMAE`. Building a second model from one config there halves the depth
of the pyramid; here it does not.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mae3d.models.backbones.sst_pyramid import SiamWCA
from mae3d.models.methods.gd_mae import GDMAE, SMALLEST, TINY, WAYMO_RANGE
from mae3d.registry import MODELS
from mae3d.structures import Voxels
from mae3d.structures.sparse_tensor import SparseTensor


@MODELS.register_module()
class TMAE(GDMAE):
    """T-MAE with the published hyper-parameters as defaults.

    A batch holds ``previous_points`` [T', in_channels] and ``previous_offsets`` int64 [B + 1] beside the current frame:
    packed clouds, already in the frame of the current sensor.

    Args:
        gradient_checkpointing: See :class:`GDMAE`; cross-attention keeps its activations.
        **options: Of :class:`GDMAE`; ``mask_ratio`` is 0.75, ``vfe_norm`` (1e-5, 0.1).
    """

    modality = "lidar_pair"
    context = ("previous_points", "previous_offsets")
    encoder_type = SiamWCA

    def __init__(self, *, gradient_checkpointing: bool = False, **options: Any) -> None:
        published = {"mask_ratio": 0.75, "vfe_norm": (1e-5, 0.1)}
        super().__init__(gradient_checkpointing=gradient_checkpointing, **{**published, **options})

    def encode(self, voxels: Voxels, *, previous_points: Tensor, previous_offsets: Tensor) -> list[SparseTensor]:
        """Scales of the given pillars of the current frame, informed by all pillars of the previous one."""
        return self.encoder(voxels, self.tokenizer(previous_points, previous_offsets))


@MODELS.register_module()
def t_mae_once(**overrides: Any) -> TMAE:
    """The published model on ONCE: 11.8 M parameters."""
    return TMAE(**overrides)


@MODELS.register_module()
def t_mae_waymo(**overrides: Any) -> TMAE:
    """The model for Waymo: x y z intensity elongation, z from -2 to 4 m. Its published config was not released."""
    return TMAE(**{"in_channels": 5, "point_range": WAYMO_RANGE, **overrides})


@MODELS.register_module()
def t_mae_tiny(**overrides: Any) -> TMAE:
    """Widths 32, 64, 64 and one pair of layers a stage: trains on a CPU."""
    return TMAE(**{**TINY, **overrides})


@MODELS.register_module()
def t_mae_test(**overrides: Any) -> TMAE:
    """The smallest model with every mechanism in it, for tests."""
    return TMAE(**{**SMALLEST, **overrides})
