"""The general masked autoencoder.

    inputs --tokenizer--> tokens --masking--> Mask
    visible tokens + positions --encoder--> latents --decoder--> features of the masked tokens
    features --prediction head--> compared with the target by the loss

Every system that follows this line is a configuration of it; a method class exists where the flow itself differs.
Source: He et al., Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mae3d.models.building import build, evaluating
from mae3d.registry import MODELS
from mae3d.structures import Mask, Reconstruction, Tokens

Pooling = Literal["max", "mean", "max_mean", "class"]


class MaskedPrediction(NamedTuple):
    """One pass of a masked autoencoder.

    Attributes:
        prediction: What the model predicts at masked tokens; point patches: [B, M, K, 3].
        target: What it should predict, same shape.
        mask: Which tokens were hidden.
        tokens: All tokens.
    """

    prediction: Tensor
    target: Tensor
    mask: Mask
    tokens: Tokens


@MODELS.register_module()
class MaskedAutoencoder(BaseModel):
    """Tokenize, mask, encode what is visible, decode, compare.

    Every part is a module or its config.

    Args:
        tokenizer: Inputs -> :class:`Tokens`.
        position_embedding: Token coordinates [B, N, D] -> [B, N, C] of the encoder.
        masking: ``(tokens, generator) -> Mask``.
        encoder: ``(tokens, positions) -> latents``, a :class:`ViT`.
        decoder: ``(latents, coordinates, mask) -> features of masked tokens``.
        target: ``(tokens, mask) -> target``, with ``dim`` and ``shape``.
        loss: ``(prediction, target) -> scalar``.
        pooling: How :meth:`extract_features` makes one vector of the latents: "max", "mean", "max_mean" (both,
            concatenated) or "class" (the class token).
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, e.g. of a pre-trained file.
    """

    modality = "points"
    """Kind of input: which example batch fits the model."""

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        position_embedding: nn.Module | dict,
        masking: nn.Module | dict,
        encoder: nn.Module | dict,
        decoder: nn.Module | dict,
        target: nn.Module | dict,
        loss: nn.Module | dict,
        *,
        pooling: Pooling = "max_mean",
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = build(tokenizer)
        self.position_embedding = build(position_embedding)
        self.masking = build(masking)
        self.encoder = build(encoder)
        self.decoder = build(decoder)
        self.target = build(target)
        self.prediction = nn.Linear(self.decoder.embed_dim, self.target.dim)
        self.loss = build(loss)
        self.pooling = pooling

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor | None = None,
        mask: Mask | None = None,
        generator: torch.Generator | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [B, N, 3 or more].
            mode: "tensor" gives the prediction at masked tokens, "loss" the training loss, "predict" one dict per
                sample with its pooled ``features`` (and ``label``), for probes.
            label: int64 [B], passed through by "predict".
            mask: Mask to use instead of drawing one.
            generator: Source of the mask's randomness; None: the global RNG of the device.
            **annotations: Further fields of the batch, not used.
        """
        if mode == "tensor":
            return self.predict_masked(points, mask, generator).prediction
        if mode == "loss":
            return self.compute_loss(points, mask, generator)
        if mode == "predict":
            features = self.extract_features(points)
            if label is None:
                return [{"features": row} for row in features]
            return [{"features": row, "label": own} for row, own in zip(features, label)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(
        self, points: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Training losses of one batch; terms whose name contains "loss" are summed by the runner."""
        result = self.predict_masked(points, mask, generator)
        return {"loss": self.loss(result.prediction, result.target)}

    def predict_masked(
        self, points: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> MaskedPrediction:
        """Hide tokens and predict them."""
        tokens = self.tokenizer(points)
        if mask is None:
            mask = self.masking(tokens, generator)
        latents = self.encode(tokens, mask)
        decoded = self.decoder(latents, tokens.coordinates, mask)
        prediction = self.target.shape(self.prediction(decoded))
        return MaskedPrediction(prediction, self.target(tokens, mask), mask, tokens)

    def encode(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Latents of the visible tokens [B, V, C], or of all tokens without a mask."""
        features, coordinates = tokens.features, tokens.coordinates
        if mask is not None:
            features, coordinates = mask.gather_visible(features), mask.gather_visible(coordinates)
        return self.encoder(features, self.position_embedding(coordinates))

    @torch.no_grad()
    def extract_features(self, points: Tensor, pooling: Pooling | None = None) -> Tensor:
        """Feature of every sample [B, D] for probes: eval mode, nothing hidden, pooled over the tokens."""
        with evaluating(self):
            return pool(self.encode(self.tokenizer(points)), pooling or self.pooling)

    @torch.no_grad()
    def reconstruct(
        self, points: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Clouds for pictures: the input, what was visible, and what is predicted for the rest."""
        with evaluating(self):
            result = self.predict_masked(points, mask, generator)
        tokens, mask = result.tokens, result.mask
        centers = tokens.coordinates.unsqueeze(2)  # [B, N, 1, 3]
        visible = mask.gather_visible(tokens.content + centers).flatten(1, 2)
        predicted = (result.prediction + mask.gather_masked(centers)).flatten(1, 2)
        return Reconstruction(points[..., :3], visible, predicted)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, for layer-wise learning-rate decay.

        Layer 0 is the embedding (tokenizer, positions, class token), block i of the encoder is layer i + 1, and
        everything behind the encoder's blocks is the last layer.
        """
        return encoder_layer_depth(name, self.encoder.depth)


def pool(latents: Tensor, pooling: Pooling) -> Tensor:
    """Latents [B, N, C] -> one vector per sample [B, C], or [B, 2 C] for "max_mean"."""
    if pooling == "max":
        return latents.amax(dim=1)
    if pooling == "mean":
        return latents.mean(dim=1)
    if pooling == "max_mean":
        return torch.cat((latents.amax(dim=1), latents.mean(dim=1)), dim=-1)
    if pooling == "class":
        return latents[:, 0]
    raise ValueError(f'pooling must be "max", "mean", "max_mean" or "class", got {pooling!r}')


def encoder_layer_depth(name: str, depth: int) -> tuple[int, int]:
    """Layer of the parameter ``name`` of a model with ``tokenizer``, ``position_embedding`` and ``encoder``."""
    if name.startswith(("tokenizer.", "position_embedding.", "encoder.class_")):
        return 0, depth + 2
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1, depth + 2
    return depth + 1, depth + 2
