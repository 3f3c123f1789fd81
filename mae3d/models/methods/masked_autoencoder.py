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

from mae3d.errors import ConfigError, DataError
from mae3d.models.building import build, embed, evaluating
from mae3d.registry import MODELS
from mae3d.structures import Mask, PixelReconstruction, Reconstruction, Tokens

Pooling = Literal["max", "mean", "max_mean", "class"]


class MaskedPrediction(NamedTuple):
    """One pass of a masked autoencoder.

    Attributes:
        prediction: What the model predicts at masked tokens; point patches: [B, M, K, 3], pixels: [B, M, P].
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
        decoder: ``(latents, coordinates, mask) -> features of masked tokens``; None for methods that predict from the
            encoder's latents.
        target: ``(tokens, mask) -> target``, with ``dim``, ``shape`` and ``reconstruct``.
        loss: ``(prediction, target) -> scalar``.
        modality: Kind of input, which is also the name of its field in a batch: "points" [B, N, 3 or more], "image"
            [B, 3, rows, columns], "video" [B, 3, frames, rows, columns], "spectrogram" [B, 1, time, frequency].
        pooling: How :meth:`extract_features` makes one vector of the latents: "max", "mean", "max_mean" (both,
            concatenated; none of them takes the class token in) or "class" (the class token).
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, e.g. of a pre-trained file.
    """

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        position_embedding: nn.Module | dict,
        masking: nn.Module | dict,
        encoder: nn.Module | dict,
        decoder: nn.Module | dict | None,
        target: nn.Module | dict,
        loss: nn.Module | dict,
        *,
        modality: str = "points",
        pooling: Pooling = "max_mean",
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = build(tokenizer)
        self.position_embedding = build(position_embedding)
        self.masking = build(masking)
        self.encoder = build(encoder)
        self.decoder = None if decoder is None else build(decoder)
        self.target = build(target)
        self.prediction = nn.Linear((self.decoder or self.encoder).embed_dim, self.target.dim)
        self.loss = build(loss)
        self.modality = modality
        self.pooling = pooling

    def forward(
        self,
        inputs: Tensor | None = None,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor | None = None,
        mask: Mask | None = None,
        generator: torch.Generator | None = None,
        **batch: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            inputs: What the tokenizer takes; None takes the field of ``batch`` that is named as the modality.
            mode: "tensor" gives the prediction at masked tokens, "loss" the training loss, "predict" one dict per
                sample with its pooled ``features`` (and ``label``), for probes.
            label: int64 [B], passed through by "predict".
            mask: Mask to use instead of drawing one.
            generator: Source of the mask's randomness; None: the global RNG of the device.
            **batch: Fields of the batch; those not named here are not used.
        """
        inputs = take_input(self, inputs, batch)
        if mode == "tensor":
            return self.predict_masked(inputs, mask, generator).prediction
        if mode == "loss":
            return self.compute_loss(inputs, mask, generator)
        if mode == "predict":
            features = self.extract_features(inputs)
            if label is None:
                return [{"features": row} for row in features]
            return [{"features": row, "label": own} for row, own in zip(features, label)]
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def compute_loss(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Training losses of one batch; terms whose name contains "loss" are summed by the runner."""
        result = self.predict_masked(inputs, mask, generator)
        return {"loss": self.loss(result.prediction, result.target)}

    def predict_masked(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> MaskedPrediction:
        """Hide tokens and predict them."""
        tokens = self.tokenizer(inputs)
        if mask is None:
            mask = self.masking(tokens, generator)
        latents = self.encode(tokens, mask)
        decoded = self.decoder(latents, tokens.coordinates, mask)
        prediction = self.target.shape(self.prediction(decoded))
        return MaskedPrediction(prediction, self.target(tokens, mask), mask, tokens)

    def encode(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Latents of the visible tokens [B, V, C], or of all tokens without a mask; a class token comes first."""
        features, coordinates = tokens.features, tokens.coordinates
        if mask is not None:
            features, coordinates = mask.gather_visible(features), mask.gather_visible(coordinates)
        return self.encoder(embed(self.tokenizer, features), self.position_embedding(coordinates))

    @torch.no_grad()
    def extract_features(self, inputs: Tensor, pooling: Pooling | None = None) -> Tensor:
        """Feature of every sample [B, D] for probes: eval mode, nothing hidden, pooled over the tokens."""
        with evaluating(self):
            tokens = self.tokenizer(inputs)
            latents = self.encode(tokens)
            return pool(latents, pooling or self.pooling, latents.shape[1] - tokens.coordinates.shape[1])

    @torch.no_grad()
    def reconstruct(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> Reconstruction | PixelReconstruction:
        """For pictures, made by the target: the input, what was visible, and what is predicted for the rest."""
        with evaluating(self):
            result = self.predict_masked(inputs, mask, generator)
        return self.target.reconstruct(inputs, result.prediction, result.tokens, result.mask)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, for layer-wise learning-rate decay.

        Layer 0 is the embedding (tokenizer, positions, class token), block i of the encoder is layer i + 1, and
        everything behind the encoder's blocks is the last layer.
        """
        return encoder_layer_depth(name, self.encoder.depth)


def pool(latents: Tensor, pooling: Pooling, num_class: int = 0) -> Tensor:
    """Latents [B, num_class + N, C] -> one vector per sample [B, C], or [B, 2 C] for "max_mean"."""
    tokens = latents[:, num_class:]
    if pooling == "max":
        return tokens.amax(dim=1)
    if pooling == "mean":
        return tokens.mean(dim=1)
    if pooling == "max_mean":
        return torch.cat((tokens.amax(dim=1), tokens.mean(dim=1)), dim=-1)
    if pooling == "class" and num_class:
        return latents[:, 0]
    if pooling == "class":
        raise ConfigError('pooling="class" needs an encoder with a class token; pool by "mean", "max" or "max_mean"')
    raise ValueError(f'pooling must be "max", "mean", "max_mean" or "class", got {pooling!r}')


def take_input(model: nn.Module, inputs: Tensor | None, batch: dict[str, Any]) -> Tensor:
    """``inputs``, or the field of ``batch`` that is named as the model's modality.

    Raises:
        DataError: The batch has no such field.
    """
    if inputs is not None:
        return inputs
    if model.modality not in batch:
        raise DataError(f"{type(model).__name__} needs the field {model.modality!r} of a batch, got {sorted(batch)}")
    return batch[model.modality]


def encoder_layer_depth(name: str, depth: int) -> tuple[int, int]:
    """Layer of the parameter ``name`` of a model with ``tokenizer``, ``position_embedding`` and ``encoder``."""
    if name.startswith(("tokenizer.", "position_embedding.", "encoder.class_")):
        return 0, depth + 2
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1, depth + 2
    return depth + 1, depth + 2
