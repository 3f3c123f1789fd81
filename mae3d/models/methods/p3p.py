"""P3P: Pseudo-3D Pre-training for Scaling 3D Voxel-based Masked Autoencoders (Chen et al., arXiv 2408.10007).

    cloud of any size, colours or none --224^3 voxels, 16^3 to a patch--> up to 512 tokens, one matrix for each place
    tokens; 60 % hidden at random
    class token | visible tokens + positions --12 blocks--> latents
    latents and mask tokens in order + positions --4 blocks--> features of all tokens
    hidden patches: the features of each occupied voxel (Chamfer for xyz, squared error for the rest) and which cells
    are occupied

Differs from the image MAE in: tokens from voxels by :class:`VoxelPatchTokenizer` in linear time, any number of them,
and two targets that live on the voxels of hidden patches. Predictions are computed for occupied cells alone.

The official code pads every cloud to 512 tokens and forbids attention only from padding to padding, so real tokens see
padding and hence the size of the cloud; its feature loss is divided by the number of voxels of the batch, so that it
fades against the occupancy loss; and its occupancy target calls visible patches and padding empty. Defaults here:
packed tokens without padding, means per cloud and channel, occupancy of hidden patches alone.
``padding="published"`` and ``objective="published"`` give the official numbers. The number of a cell is little-endian
in the tokenizer and big-endian in the targets, as published.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.building import build, evaluating
from mae3d.models.decoders.in_place import InPlaceDecoder
from mae3d.models.decoders.voxel_patch_heads import VoxelPatchHeads
from mae3d.models.layers import CoordinateMlp, initialize
from mae3d.models.losses.voxel_patches import cell_occupancy_loss, patch_voxel_loss
from mae3d.models.masking import PackedMasking, RandomMasking
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth
from mae3d.models.methods.p3p_encoder import Padding, check_padding, encode_all, encoder_parts, pack, pad_tokens
from mae3d.models.tokenizers.voxel_patches import CellOrder, VoxelPatchTokenizer
from mae3d.registry import MODELS
from mae3d.structures import Mask, Reconstruction, VoxelMask, VoxelPatches, number_cells

Objective = Literal["sound", "published"]


class VoxelPrediction(NamedTuple):
    """What is predicted for hidden patches, or should be.

    Attributes:
        voxels: [V, C], features of their occupied voxels.
        occupancy: Prediction: [P, K] logits of "occupied" for the cells of the tokens that are asked. Target: int64
            [V], the cells among them (flattened) that are occupied.
    """

    voxels: Tensor
    occupancy: Tensor


class VoxelPatchPrediction(NamedTuple):
    """One pass of :class:`P3P`.

    Attributes:
        prediction: Outputs of the heads.
        target: What they should be.
        mask: Which tokens were hidden, of the dense or packed kind.
        tokens: All tokens.
        hidden: int64 [V], the rows of ``tokens.voxels`` that lie in hidden patches.
    """

    prediction: VoxelPrediction
    target: VoxelPrediction
    mask: Mask | VoxelMask
    tokens: VoxelPatches
    hidden: Tensor


@MODELS.register_module()
class P3P(BaseModel):
    """P3P with the small model's hyper-parameters as defaults.

    Args:
        embed_dim: Width D of the encoder.
        depth: Encoder blocks.
        num_heads: Encoder attention heads.
        decoder_dim: Width of the decoder.
        decoder_depth: Decoder blocks.
        decoder_num_heads: Decoder attention heads.
        color: See :class:`VoxelPatchTokenizer`, as the next four.
        cells: Voxels along each axis of the cube [-1, 1]^3.
        patch_size: Voxels along each axis of a patch.
        max_patches: Tokens of a cloud at most.
        order: Number of a cell inside a patch, of the tokenizer.
        target_order: The same for the two targets.
        mask_ratio: Share of hidden tokens.
        padding: "none": packed tokens; "published": ``max_patches`` tokens of each cloud, masked like real ones.
        objective: "sound" or "published", see :func:`patch_voxel_loss` and the head of this file.
        gradient_checkpointing: Recompute blocks in the backward pass.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation.
    """

    modality = "clouds"
    """Kind of input: which example batch fits the model."""

    def __init__(
        self,
        *,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        decoder_dim: int = 384,
        decoder_depth: int = 4,
        decoder_num_heads: int = 6,
        color: bool = True,
        cells: int = 224,
        patch_size: int = 16,
        max_patches: int | None = 512,
        order: CellOrder = "little",
        target_order: CellOrder = "big",
        mask_ratio: float = 0.6,
        padding: Padding = "none",
        objective: Objective = "sound",
        gradient_checkpointing: bool = False,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        if objective not in ("sound", "published") or target_order not in ("little", "big"):
            raise ConfigError(
                'P3P: objective must be "sound" or "published", target_order "little" or "big"; got '
                f"{objective!r} and {target_order!r}"
            )
        self.padding = check_padding("P3P", padding, max_patches)
        self.objective = objective
        self.target_order = target_order
        parts = encoder_parts(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            color=color,
            cells=cells,
            patch_size=patch_size,
            max_patches=max_patches,
            order=order,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.tokenizer: VoxelPatchTokenizer = parts["tokenizer"]
        self.position_embedding = parts["position_embedding"]
        self.masking = PackedMasking(mask_ratio) if padding == "none" else RandomMasking(mask_ratio, "visible")
        self.encoder = parts["encoder"]
        position_embedding = CoordinateMlp(decoder_dim, hidden_dim=decoder_dim)
        initialize(position_embedding, "xavier_uniform")
        self.decoder = InPlaceDecoder(
            decoder_dim,
            decoder_depth,
            decoder_num_heads,
            position_embedding=position_embedding,
            input_dim=embed_dim,
            class_token="keep",
            gradient_checkpointing=gradient_checkpointing,
        )
        self.prediction = VoxelPatchHeads(decoder_dim, patch_size**3, self.tokenizer.channels)

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        offsets: Tensor | None = None,
        label: Tensor | None = None,
        mask: Mask | VoxelMask | None = None,
        generator: torch.Generator | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: Packed [T, 3 or 6] with ``offsets``, or dense [B, N, 3 or 6]; x y z in [-1, 1] (r g b).
            mode: "tensor" gives the predicted features [V, C] of the voxels of hidden patches, "loss" the training
                losses, "predict" one dict per sample with its ``features`` (and ``label``), for probes.
            offsets: int64 [B + 1].
            label: int64 [B], passed through by "predict".
            mask: Mask to use instead of drawing one: a :class:`Mask` over padded tokens, else a :class:`VoxelMask`.
            generator: Source of all randomness of the pass; None: the global RNG of the device.
            **annotations: Further fields of the batch, not used.
        """
        if mode == "tensor":
            return self.predict_masked(points, mask, generator, offsets=offsets).prediction.voxels
        if mode == "loss":
            return self.compute_loss(points, offsets, mask, generator)
        if mode == "predict":
            features = self.extract_features(points, offsets)
            if label is None:
                return [{"features": row} for row in features]
            return [{"features": row, "label": own} for row, own in zip(features, label)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(
        self,
        points: Tensor,
        offsets: Tensor | None = None,
        mask: Mask | VoxelMask | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Both losses of one batch; the runner adds them up."""
        result = self.predict_masked(points, mask, generator, offsets=offsets)
        prediction, target, tokens = result.prediction, result.target, result.tokens
        cloud = tokens.cloud[tokens.token[result.hidden]]
        token, cell = target.occupancy // self.prediction.cells, target.occupancy % self.prediction.cells
        return {
            "loss_voxels": patch_voxel_loss(
                prediction.voxels, target.voxels, cloud, tokens.batch_size, published=self.objective == "published"
            ),
            "loss_occupancy": cell_occupancy_loss(prediction.occupancy, token, cell),
        }

    def predict_masked(
        self,
        points: Tensor,
        mask: Mask | VoxelMask | None = None,
        generator: torch.Generator | None = None,
        *,
        offsets: Tensor | None = None,
    ) -> VoxelPatchPrediction:
        """Hide patches and predict their voxels."""
        tokens = self.tokenizer(*pack(points, offsets), generator)
        run = self._run_packed if self.padding == "none" else self._run_padded
        decoded, hides, slot, mask = run(tokens, mask, generator)
        hidden = hides[slot][tokens.token].nonzero().squeeze(1)
        place, target = slot[tokens.token[hidden]], tokens.voxels[hidden]
        cell = number_cells(tokens.cells[hidden], self.tokenizer.patch_size, self.target_order)
        predicted = self.prediction.predict_voxels(decoded, place, cell)
        if self.objective == "sound":  # ask about hidden real tokens alone
            asked = torch.zeros_like(hides).index_copy(0, slot, hides[slot])
            decoded, place = decoded[asked], (asked.long().cumsum(0) - 1)[place]
        logits = self.prediction.predict_occupancy(decoded)
        return VoxelPatchPrediction(
            VoxelPrediction(predicted, logits),
            VoxelPrediction(target, place * self.prediction.cells + cell),
            mask,
            tokens,
            hidden,
        )

    def _run_packed(
        self, tokens: VoxelPatches, mask: VoxelMask | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, VoxelMask]:
        """Decoded tokens [P, C], which are hidden (bool [P]), the row of each real token, and the mask."""
        mask = self.masking(tokens, generator) if mask is None else mask
        if mask.num_voxels != len(tokens):
            raise ValueError(f"P3P: the mask is of {mask.num_voxels} tokens, the batch has {len(tokens)}")
        offsets = torch.searchsorted(mask.visible, tokens.offsets)
        positions = self.position_embedding(tokens.coordinates[mask.visible])
        latents = self.encoder(tokens.features[mask.visible], positions, offsets)
        decoded = self.decoder.forward_packed(latents, tokens.coordinates, tokens.offsets, mask)
        return decoded, mask.to_bool(), torch.arange(len(tokens), device=decoded.device), mask

    def _run_padded(
        self, tokens: VoxelPatches, mask: Mask | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Mask]:
        """The same over all B L tokens, padding included."""
        padded = pad_tokens(tokens, self.tokenizer.max_patches)
        mask = self.masking(padded, generator) if mask is None else mask
        seen = mask.gather_visible(padded.allowed)
        seen = mask.gather_visible(seen.transpose(1, 2))
        positions = self.position_embedding(mask.gather_visible(padded.coordinates))
        latents = self.encoder(mask.gather_visible(padded.features), positions, allowed=seen)
        decoded = self.decoder.forward_all(latents, padded.coordinates, mask, padded.allowed)
        return decoded.flatten(0, 1), mask.to_bool().flatten(), padded.slot, mask

    @torch.no_grad()
    def extract_features(self, points: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Feature of every sample [B, D]: eval mode, nothing hidden, the latent of the class token."""
        with evaluating(self):
            tokens = self.tokenizer(*pack(points, offsets))
            return encode_all(tokens, self.position_embedding, self.encoder, self.padding, self.tokenizer.max_patches)

    @torch.no_grad()
    def reconstruct(
        self,
        points: Tensor,
        offsets: Tensor | None = None,
        mask: Mask | VoxelMask | None = None,
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Clouds for pictures: the input, its visible voxels, and the predicted xyz of the hidden voxels."""
        with evaluating(self):
            result = self.predict_masked(points, mask, generator, offsets=offsets)
        rows, offsets = pack(points, offsets)
        tokens = result.tokens
        cloud = tokens.cloud[tokens.token]
        visible = torch.ones_like(cloud, dtype=torch.bool).index_fill(0, result.hidden, False)

        def per_cloud(xyz: Tensor, owner: Tensor) -> list[Tensor]:
            return list(xyz[:, :3].split(torch.bincount(owner, minlength=tokens.batch_size).tolist()))

        return Reconstruction(
            list(rows[:, :3].split(offsets.diff().tolist())),
            per_cloud(tokens.voxels[visible], cloud[visible]),
            per_cloud(result.prediction.voxels.float(), cloud[result.hidden]),
        )

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)


@MODELS.register_module()
def p3p_small(**overrides: Any) -> P3P:
    """The published small model: 69.8 M parameters, of which 21.3 M in the encoder's blocks."""
    return P3P(**overrides)


@MODELS.register_module()
def p3p_base(**overrides: Any) -> P3P:
    """The published base model: 12 x 768 with a decoder of 8 x 480."""
    size = {"embed_dim": 768, "num_heads": 12, "decoder_dim": 480, "decoder_depth": 8, "decoder_num_heads": 16}
    return P3P(**{**size, **overrides})


@MODELS.register_module()
def p3p_tiny(**overrides: Any) -> P3P:
    """Width 96 and 4 + 2 blocks over patches of 8^3 voxels in a grid of 64^3: trains on a CPU."""
    small = {"embed_dim": 96, "depth": 4, "num_heads": 3, "decoder_dim": 96, "decoder_depth": 2, "decoder_num_heads": 3}
    return P3P(**{**small, "cells": 64, "patch_size": 8, **overrides})


@MODELS.register_module()
def p3p_test(**overrides: Any) -> P3P:
    """The smallest model with every mechanism in it, for tests."""
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2, "decoder_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2}
    return P3P(**{**small, "cells": 16, "patch_size": 4, "max_patches": 24, **overrides})
