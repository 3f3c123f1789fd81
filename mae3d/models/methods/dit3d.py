"""DiT-3D: Exploring Plain Diffusion Transformers for 3D Shape Generation (Mo et al., NeurIPS 2023, arXiv 2307.01831).

    cloud [B, 2048, 3] + noise of a random time --voxel means--> grid [B, 3, 32, 32, 32]
    patches of 4^3 voxels --linear, fixed positions--> 512 tokens [B, 512, 384]
    time and class --embedding--> condition that shifts, scales and gates every block
    12 blocks --modulated linear--> grid, read at the points by trilinear interpolation --> the noise of each point
    mean squared error; a fresh model predicts 0

Training and sampling are those of :class:`PointDiffusion`.

Deviations from the official code: the paper's window attention never runs there (its block numbers are parsed into
characters) and is off here; a noise fixed per shape for time 0 is a switch, ``fixed_noise_at_zero``, off by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mae3d.models.backbones import DiT
from mae3d.models.layers import AdaptiveHead, TimeAndClass
from mae3d.models.methods.point_diffusion import PointDiffusion
from mae3d.models.tokenizers import GridPatches, GridPatchTokenizer
from mae3d.registry import MODELS

SIZES: dict[str, dict[str, int]] = {
    "s": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "l": {"embed_dim": 1152, "depth": 24, "num_heads": 16},
    "xl": {"embed_dim": 1152, "depth": 28, "num_heads": 16},
}
"""Name -> published size."""


@MODELS.register_module()
class DiT3D(PointDiffusion):
    """DiT-3D with the hyper-parameters of S/4 as defaults.

    Args:
        resolution: Voxels R along each axis.
        patch_size: Voxels p of a patch along each axis; divides R.
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over C.
        num_classes: Number of classes; 0 for a model without.
        label_dropout: Probability with which training hides the class, as guidance needs it.
        encoder_options: Further arguments of :class:`DiT`; ``window_blocks=(0, 3, 6, 9)`` is the paper's window
            attention.
        gradient_checkpointing: Recompute blocks in the backward pass.
        **options: Of :class:`PointDiffusion`.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        patch_size: int = 4,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        num_classes: int = 1,
        label_dropout: float = 0.1,
        encoder_options: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.tokenizer = GridPatchTokenizer(resolution, patch_size, embed_dim)
        self.condition = TimeAndClass(embed_dim, num_classes, label_dropout)
        self.encoder = DiT(
            embed_dim,
            depth,
            num_heads,
            mlp_ratio=mlp_ratio,
            grid=self.tokenizer.grid,
            gradient_checkpointing=gradient_checkpointing,
            **(encoder_options or {}),
        )
        self.head = AdaptiveHead(embed_dim, embed_dim, 3 * patch_size**3)

    @property
    def tokens_per_sample(self) -> int:
        """Tokens of one cloud, for the throughput."""
        return self.tokenizer.num_tokens

    def denoise(self, noisy: Tensor, times: Tensor, label: Tensor | None = None) -> Tensor:
        """The network: noisy clouds [B, P, 3], times int64 [B] and classes [B] -> prediction [B, P, 3], float32."""
        label = self.condition.check(label, len(noisy), noisy.device)
        patches = self.tokenizer(noisy)
        condition = self.condition(times, label)
        tokens = self.encoder(self.tokenizer.embed(patches.content) + self.tokenizer.position, condition).tokens
        return self.predict(tokens, condition, patches)

    def predict(self, tokens: Tensor, condition: Tensor, patches: GridPatches) -> Tensor:
        """Features of all tokens [B, N, C] -> prediction at the points [B, P, 3]."""
        return self.tokenizer.to_points(self.head(tokens, condition), patches.coordinates)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers: embeddings, one per block of the encoder, the rest."""
        total = self.encoder.depth + 2
        if name.startswith(("tokenizer.", "condition.")):
            return 0, total
        if name.startswith("encoder.blocks."):
            return int(name.split(".")[2]) + 1, total
        return total - 1, total


@MODELS.register_module()
def dit3d_s(**overrides: Any) -> DiT3D:
    """DiT-3D-S: 32.8 M parameters at p = 4, R = 32, one class."""
    return DiT3D(**{**SIZES["s"], **overrides})


@MODELS.register_module()
def dit3d_b(**overrides: Any) -> DiT3D:
    """DiT-3D-B: width 768, 12 blocks."""
    return DiT3D(**{**SIZES["b"], **overrides})


@MODELS.register_module()
def dit3d_l(**overrides: Any) -> DiT3D:
    """DiT-3D-L: width 1152, 24 blocks."""
    return DiT3D(**{**SIZES["l"], **overrides})


@MODELS.register_module()
def dit3d_xl(**overrides: Any) -> DiT3D:
    """DiT-3D-XL: width 1152, 28 blocks."""
    return DiT3D(**{**SIZES["xl"], **overrides})


TEST_SIZE: dict[str, Any] = {
    "resolution": 8,
    "patch_size": 2,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 4,
    "sampling": {"sampler": "ddim", "steps": 2},
}
"""The smallest model with every mechanism in it."""


@MODELS.register_module()
def dit3d_test(**overrides: Any) -> DiT3D:
    """For tests."""
    return DiT3D(**{**TEST_SIZE, **overrides})
