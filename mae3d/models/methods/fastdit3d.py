"""FastDiT-3D: Fast Training of Diffusion Transformer with Extreme Masking for 3D Point Clouds Generation.

Mo et al., ECCV 2024, arXiv 2312.07231. No official code is public; what its page leaves open is decided here and said.

    noisy cloud --voxels, patches (as DiT-3D)--> 512 tokens, occupied ones are foreground, empty ones background
    95 % of the foreground and 99 % of the background hidden --> the visible tokens of each sample, packed, no padding
    12 blocks whose MLPs are mixtures of 4 experts, one per token --> latents, a loss that keeps the experts busy
    latents at their places, a learned token elsewhere --4 blocks, attention in windows in two of them--> all tokens
    as DiT-3D: grid, points, mean squared error on all points

Sampling hides nothing. Differs from DiT-3D in the masking, the experts and the decoder.

Open in the published material, and chosen: the unit of masking is the patch token, foreground where any of its voxels
is occupied; the experts' number, top-1 choice and loss weight 0.01; windows in decoder blocks 0 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError
from mae3d.models.building import build
from mae3d.models.decoders import GridDecoder
from mae3d.models.layers import AdaptiveHead, Packing, balance_loss
from mae3d.models.masking import OccupancyMasking
from mae3d.models.methods.dit3d import SIZES, TEST_SIZE, DiT3D
from mae3d.models.tokenizers import GridPatches
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask


@MODELS.register_module()
class FastDiT3D(DiT3D):
    """FastDiT-3D with the hyper-parameters of S/4 as defaults.

    Args:
        masking: ``(occupied, generator) -> VoxelMask``, module or config; None hides nothing, as for a last stretch of
            training on whole clouds.
        num_experts: Experts of each encoder block's feed-forward layer; 0 for plain MLPs.
        top_k: Experts per token.
        balance_weight: Weight of the loss that keeps the experts busy.
        decoder_dim: Width of the decoder.
        decoder_depth: Its blocks.
        decoder_num_heads: Its attention heads.
        window: Its window size in tokens.
        window_blocks: Its blocks with attention inside windows; none for the global decoder of the ablations.
        loss_on: Points that count: "all", or those whose own voxel lies in a "visible" token.
        **options: See :class:`DiT3D`.
    """

    def __init__(
        self,
        *,
        masking: nn.Module | dict | Literal["published"] | None = "published",
        num_experts: int = 4,
        top_k: int = 1,
        balance_weight: float = 0.01,
        decoder_dim: int = 384,
        decoder_depth: int = 4,
        decoder_num_heads: int = 6,
        window: int = 4,
        window_blocks: Sequence[int] = (0, 2),
        loss_on: Literal["all", "visible"] = "all",
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        if loss_on not in ("all", "visible"):
            raise ConfigError(f'FastDiT3D: loss_on must be "all" or "visible", got {loss_on!r}')
        super().__init__(
            encoder_options={"num_experts": num_experts, "top_k": top_k},
            gradient_checkpointing=gradient_checkpointing,
            **options,
        )
        if masking == "published":
            masking = OccupancyMasking()
        self.token_masking = None if masking is None else build(masking)
        width = self.encoder.embed_dim
        self.decoder = GridDecoder(
            self.tokenizer.grid,
            width,
            decoder_dim,
            decoder_depth,
            decoder_num_heads,
            window=window,
            window_blocks=window_blocks,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.head = AdaptiveHead(decoder_dim, width, 3 * self.tokenizer.patch_size**3)
        self.balance_weight = balance_weight
        self.loss_on = loss_on

    def compute_loss(
        self,
        points: Tensor,
        label: Tensor | None = None,
        index: Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        mask: VoxelMask | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """Losses (mean squared error; balance of the experts) and statistics of masking and experts.

        ``mask``: to use instead of drawing one.
        """
        seen = self.corrupt(points, label, index, generator)
        patches = self.tokenizer(seen.noisy)
        if mask is None and self.token_masking is not None:
            mask = self.token_masking(patches.occupied, generator)
        output, routing = self.run(patches, seen.times, seen.label, mask)
        target = self.diffusion.target(points, seen.times, seen.noise)
        losses = {"loss_denoise": self._error(output - target, patches, mask)}
        if routing is not None:
            losses["loss_balance"] = self.balance_weight * balance_loss(routing)
            share = routing[:, 0].detach()
            losses |= {"expert_share_max": share.amax(dim=1).mean(), "expert_share_min": share.amin(dim=1).mean()}
        visible = len(patches) if mask is None else mask.num_visible
        losses["visible_tokens"] = points.new_tensor(visible / max(1, len(points)))
        return losses

    def _error(self, difference: Tensor, patches: GridPatches, mask: VoxelMask | None) -> Tensor:
        squared = difference.square().mean(dim=-1)  # [B, P]
        if mask is None or self.loss_on == "all":
            return squared.mean()
        visible = ~mask.to_bool().unflatten(0, (len(squared), -1)).gather(1, patches.owner)
        return ((squared * visible).sum(dim=1) / visible.sum(dim=1).clamp(min=1)).mean()

    def denoise(
        self, noisy: Tensor, times: Tensor, label: Tensor | None = None, mask: VoxelMask | None = None
    ) -> Tensor:
        """The network: as :meth:`DiT3D.denoise`; ``mask`` over the B N tokens hides some, None hides none."""
        label = self.condition.check(label, len(noisy), noisy.device)
        return self.run(self.tokenizer(noisy), times, label, mask)[0]

    def run(
        self, patches: GridPatches, times: Tensor, label: Tensor, mask: VoxelMask | None
    ) -> tuple[Tensor, Tensor | None]:
        """Prediction at the points [B, P, 3], and how the tokens were routed [depth, 2, E]."""
        condition = self.condition(times, label)
        batch_size, num_tokens = patches.occupied.shape
        if mask is None:
            tokens, packing = self.tokenizer.embed(patches.content) + self.tokenizer.position, None
        else:
            if mask.num_voxels != len(patches):
                raise DataError(f"mask must cover {len(patches)} tokens, {num_tokens} a cloud, got {mask.num_voxels}")
            content = mask.gather_visible(patches.content.flatten(0, 1))
            tokens = self.tokenizer.embed(content) + self.tokenizer.position[0, mask.visible % num_tokens]
            sample = mask.visible // num_tokens
            packing = Packing.from_offsets(torch.searchsorted(sample, torch.arange(batch_size + 1).to(sample)))
        latents, routing = self.encoder(tokens, condition, packing)
        return self.predict(self.decoder(latents, condition, mask), condition, patches), routing


@MODELS.register_module()
def fastdit3d_s(**overrides: Any) -> FastDiT3D:
    """FastDiT-3D-S, the published model."""
    return FastDiT3D(**{**SIZES["s"], **overrides})


@MODELS.register_module()
def fastdit3d_b(**overrides: Any) -> FastDiT3D:
    """FastDiT-3D-B: encoder of width 768, 12 blocks."""
    return FastDiT3D(**{**SIZES["b"], **overrides})


@MODELS.register_module()
def fastdit3d_l(**overrides: Any) -> FastDiT3D:
    """FastDiT-3D-L: encoder of width 1152, 24 blocks."""
    return FastDiT3D(**{**SIZES["l"], **overrides})


@MODELS.register_module()
def fastdit3d_xl(**overrides: Any) -> FastDiT3D:
    """FastDiT-3D-XL: encoder of width 1152, 28 blocks."""
    return FastDiT3D(**{**SIZES["xl"], **overrides})


@MODELS.register_module()
def fastdit3d_test(**overrides: Any) -> FastDiT3D:
    """For tests: every mechanism, tiny."""
    small = {"decoder_dim": 24, "decoder_depth": 2, "decoder_num_heads": 2, "window": 2, "window_blocks": (0,)}
    masking = {"type": OccupancyMasking, "foreground_ratio": 0.5, "background_ratio": 0.75}
    return FastDiT3D(**{**TEST_SIZE, **small, "num_experts": 3, "masking": masking, **overrides})
