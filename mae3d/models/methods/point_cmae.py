"""Point-CMAE: Bringing Masked Autoencoders Explicit Contrastive Properties for Point Cloud Self-Supervised Learning
(Ren et al., ACCV 2024, arXiv 2407.05862).

    patches and tokens of Point-MAE, made once; two independent masks of 60 % [2 B, 38 of 64]
    [a class token of each branch | its 26 visible tokens] --one encoder--> latents, class token dropped
    two decoders, one for each branch --> features of all 64 tokens, before the norm
    squared Chamfer distance at the hidden patches of each branch, times 1000
    1 - cosine between the features of both branches at the patches hidden from both

Parent: :class:`PointMAE`. No negatives, no stop-gradient, no teacher. Where code and paper disagree, the code is
followed, which the published figures come from: a co-masked token is pulled to all tokens of the other branch, not to
its namesake alone (``pairs="same"``). Sound where the code is not: ``masking="block"`` draws two masks, and pictures
show each branch with its own mask. The official head on the class tokens enters no loss; ``class_projection=True``
holds it for official files, frozen and never run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mae3d.models.backbones.vit import learned_token
from mae3d.models.building import evaluating
from mae3d.models.losses import CoMaskedCosine
from mae3d.models.losses.co_masked import Pairs
from mae3d.models.methods.point_mae import TEST, TINY, PointMAE, point_decoder
from mae3d.registry import MODELS
from mae3d.structures import Mask, Reconstruction, Tokens


class CoMaskedPrediction(NamedTuple):
    """One pass; the rows of the first branch come first, then those of the second.

    Attributes:
        prediction: [2 B, M, K, 3], points of the hidden patches.
        target: [2 B, M, K, 3].
        features: [2 B, G, C], last decoder block before the norm, in the order of the patches.
        mask: Of 2 B rows.
        tokens: Of 2 B rows, the second half a copy of the first.
    """

    prediction: Tensor
    target: Tensor
    features: Tensor
    mask: Mask
    tokens: Tokens


@MODELS.register_module()
class PointCMAE(PointMAE):
    """Point-CMAE with the published hyper-parameters as defaults. A mask that is given has 2 B rows.

    Args:
        reconstruction_weight: Weight of the sum of both Chamfer losses.
        contrast_weight: Weight of the contrast.
        pairs: See :class:`CoMaskedCosine`.
        class_projection: Hold the official head on the class tokens.
        embed_dim: See :class:`PointMAE`.
        decoder_depth: Blocks of each decoder.
        decoder_num_heads: Their attention heads.
        drop_path: See :class:`PointMAE`.
        gradient_checkpointing: See :class:`PointMAE`.
        **options: See :class:`PointMAE`.
    """

    def __init__(
        self,
        *,
        reconstruction_weight: float = 1000.0,
        contrast_weight: float = 1.0,
        pairs: Pairs = "all",
        class_projection: bool = False,
        embed_dim: int = 384,
        decoder_depth: int = 4,
        decoder_num_heads: int = 6,
        drop_path: float = 0.1,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        shared = {"drop_path": drop_path, "gradient_checkpointing": gradient_checkpointing}
        size = {"decoder_depth": decoder_depth, "decoder_num_heads": decoder_num_heads}
        super().__init__(embed_dim=embed_dim, **size, **shared, **options)
        self.second_decoder = point_decoder(embed_dim, decoder_depth, decoder_num_heads, **shared)
        self.second_prediction = nn.Linear(embed_dim, self.target.dim)
        self.class_token = nn.ParameterList(learned_token(embed_dim) for _ in range(2))
        self.class_position = nn.ParameterList(learned_token(embed_dim) for _ in range(2))
        self.contrast = CoMaskedCosine(pairs)
        self.reconstruction_weight = reconstruction_weight
        self.contrast_weight = contrast_weight
        if class_projection:
            layers = nn.Linear(embed_dim, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256)
            self.class_projection = nn.Sequential(*layers).requires_grad_(False)

    def compute_loss(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Both losses of one batch, weighted."""
        result = self.predict_masked(inputs, mask, generator)
        hidden = result.mask.to_bool().unflatten(0, (2, -1)).all(dim=0)  # [B, G]
        # Both branches hide the same number of patches: the sum of their losses is twice the mean.
        reconstruction = 2 * self.loss(result.prediction, result.target)
        contrast = self.contrast(*result.features.chunk(2), hidden)
        return {
            "loss_reconstruction": self.reconstruction_weight * reconstruction,
            "loss_contrast": self.contrast_weight * contrast,
        }

    def predict_masked(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> CoMaskedPrediction:
        """Hide patches twice and predict them twice.

        Raises:
            ValueError: A mask with another number of rows than 2 B.
        """
        once = self.tokenizer(inputs)
        tokens = Tokens(*(x.repeat(2, *[1] * (x.dim() - 1)) for x in (once.features, once.coordinates, once.content)))
        if mask is None:
            mask = self.masking(tokens, generator)
        if len(mask.masked) != 2 * len(inputs):
            raise ValueError(
                f"PointCMAE: the mask has {len(mask.masked)} rows, a batch of {len(inputs)} clouds needs "
                f"{2 * len(inputs)}, those of the first branch first"
            )
        latents = self.encode(tokens, mask)
        predictions, features = [], []
        heads = (self.decoder, self.prediction), (self.second_decoder, self.second_prediction)
        branches = zip(latents.chunk(2), mask.visible.chunk(2), mask.masked.chunk(2))
        for (decoder, head), (seen, visible, masked) in zip(heads, branches):
            own = Mask(visible, masked)
            decoded = decoder.decode(seen, once.coordinates, own)  # [B, V + M, C]
            known, unknown = decoded.split((own.num_visible, own.num_masked), dim=1)
            predictions.append(self.target.shape(head(decoder.transformer.norm(unknown))))
            features.append(own.restore(known, unknown))
        return CoMaskedPrediction(torch.cat(predictions), self.target(tokens, mask), torch.cat(features), mask, tokens)

    def encode(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Latents behind a class token: of both branches with a mask, else of whole clouds behind the first's."""
        features, coordinates = tokens.features, tokens.coordinates
        if mask is not None:
            features, coordinates = mask.gather_visible(features), mask.gather_visible(coordinates)

        def prepend(learned: nn.ParameterList, rows: Tensor) -> Tensor:
            own = [learned[0]] if mask is None else list(learned)
            first = torch.cat([row.expand(len(rows) // len(own), -1, -1) for row in own])
            return torch.cat((first.to(rows.dtype), rows), dim=1)

        positions = prepend(self.class_position, self.position_embedding(coordinates))
        return self.encoder(prepend(self.class_token, features), positions)

    @torch.no_grad()
    def reconstruct(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """For pictures, see :meth:`MaskedAutoencoder.reconstruct`; 2 B clouds, each under both its masks."""
        with evaluating(self):
            result = self.predict_masked(inputs, mask, generator)
        return self.target.reconstruct(inputs.repeat(2, 1, 1), result.prediction, result.tokens, result.mask)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        own = name.startswith(("class_token.", "class_position."))
        return super().get_layer_depth(f"encoder.{name}" if own else name)


@MODELS.register_module()
def point_cmae_base(**overrides: Any) -> PointCMAE:
    """The published model: 36.2 M parameters, 36.4 M with the unused head."""
    return PointCMAE(**overrides)


@MODELS.register_module()
def point_cmae_tiny(**overrides: Any) -> PointCMAE:
    """Of the size of ``point_mae_tiny``."""
    return PointCMAE(**{**TINY, **overrides})


@MODELS.register_module()
def point_cmae_test(**overrides: Any) -> PointCMAE:
    """The smallest model with every mechanism in it, for tests."""
    return PointCMAE(**{**TEST, **overrides})
