"""data2vec 2.0: Efficient Self-supervised Learning with Contextualized Target Representations for Vision, Speech and
Language (Baevski et al., ICML 2023, arXiv 2212.07525).

    sample --tokenizer--> N tokens, --teacher: an average of the student's past weights, sees all--> y, once a sample:
        the mean over the last K blocks of what their MLPs give, each normalised over the tokens
    M different masks of every sample; visible tokens --student--> latents
    latents at their places, fresh noise at hidden ones --convolutions--> features --linear--> prediction
    compared with y at hidden tokens; images: the extra token also predicts the mean of y

Differs from MAE in the teacher's features as target, several masks a sample, so that the teacher's pass is paid once
for M of the student's, and the decoder. Blocks are post-norm; the target is what an MLP gives before residual and norm.
Images, audio and text are set up in ``data2vec2_image.py``, ``data2vec2_audio.py`` and ``data2vec2_text.py``.

Official code followed: the sum of squared errors is divided by the number of hidden tokens, not of values, and scaled
by 1 / sqrt(C); the class term is a sum over clones and channels times its weight, so it grows with the batch of a
process (``class_loss_reduction="mean"`` takes it per clone). The official pre-norm option drops the residual around the
MLP and is not offered. The teacher is updated by ``t + (1 - d) (s - t)``, officially ``d t + (1 - d) s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.building import embed
from mae3d.models.losses import SummedRegression
from mae3d.models.masking import draw_copies
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, Pooling
from mae3d.models.targets import EmaTeacher, LayerAverage
from mae3d.structures import Mask, Tokens

SHARED = ("tokenizer", "position_embedding", "attention_bias", "encoder")
"""Parts of a model that a teacher can have a copy of."""


class FeaturePrediction(NamedTuple):
    """One pass of data2vec 2.0, M masks a sample.

    Attributes:
        prediction: [B M, hidden, C].
        target: What it should be, same shape.
        mask: Of the B M clones, those of a sample in a row.
        tokens: Of the B samples.
        class_prediction: Of the extra token [B M, C], None without one.
        class_target: Mean of the teacher's features over all tokens [B M, C], None likewise.
        spread: Standard deviation of the teacher's features between samples, mean over tokens and channels.
    """

    prediction: Tensor
    target: Tensor
    mask: Mask
    tokens: Tokens
    class_prediction: Tensor | None
    class_target: Tensor | None
    spread: Tensor


class Data2Vec2(MaskedAutoencoder):
    """A student that predicts what its slow copy makes of the whole sample.

    Args:
        tokenizer: Inputs -> tokens; with a late ``embed`` it is applied once a sample, to all tokens.
        position_embedding: Coordinates -> positions, or with ``reads_tokens`` tokens -> positions.
        masking: Of one copy of every sample.
        encoder: A :class:`ViT`; a class token is the extra token.
        decoder: ``(latents, coordinates, mask) -> features of hidden tokens``.
        target: Normalised mean of the teacher's features.
        projection: Features of the decoder -> C; None: one linear layer.
        attention_bias: Coordinates -> bias of the attention of every block.
        teacher_parts: Which of tokenizer, position_embedding, attention_bias and encoder the teacher has a copy of;
            it takes the others from the student as they are.
        teacher: Options of :class:`EmaTeacher`.
        masks_per_sample: M.
        loss: Sum of errors, see :class:`SummedRegression`.
        class_loss_weight: Of the extra token's term; 0: none.
        class_loss_reduction: "sum" over all clones of a process, as published, or "mean" over them.
        modality: See :class:`MaskedAutoencoder`.
        pooling: See :class:`MaskedAutoencoder`.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation; the teacher starts from the same weights.

    Raises:
        ConfigError: The target averages more layers than there are, or a class loss without class token.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        position_embedding: nn.Module,
        masking: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        target: LayerAverage,
        *,
        projection: nn.Module | None = None,
        attention_bias: nn.Module | None = None,
        teacher_parts: Sequence[str] = SHARED,
        teacher: dict[str, Any] | None = None,
        masks_per_sample: int = 16,
        loss: SummedRegression | None = None,
        class_loss_weight: float = 0.0,
        class_loss_reduction: Literal["sum", "mean"] = "sum",
        modality: str = "image",
        pooling: Pooling = "mean",
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            tokenizer,
            position_embedding,
            masking,
            encoder,
            decoder,
            target,
            SummedRegression() if loss is None else loss,
            modality=modality,
            pooling=pooling,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if target.layers > encoder.depth:
            raise ConfigError(f"Data2Vec2: target averages {target.layers} layers of an encoder of {encoder.depth}")
        if class_loss_weight and encoder.class_token is None:
            raise ConfigError("Data2Vec2: class_loss_weight needs an encoder with a class token")
        if class_loss_reduction not in ("sum", "mean"):
            raise ConfigError(f'Data2Vec2: class_loss_reduction must be "sum" or "mean", got {class_loss_reduction!r}')
        if masks_per_sample < 1:
            raise ConfigError(f"Data2Vec2: masks_per_sample must be at least 1, got {masks_per_sample}")
        unknown = set(teacher_parts) - set(SHARED)
        if unknown or "encoder" not in teacher_parts:
            raise ConfigError(f"Data2Vec2: teacher_parts must be of {SHARED} with the encoder, got {teacher_parts}")
        if projection is not None:
            self.prediction = projection
        self.attention_bias = attention_bias
        self.teacher_parts = tuple(part for part in teacher_parts if getattr(self, part) is not None)
        self.masks_per_sample = masks_per_sample
        self.class_loss_weight = class_loss_weight
        self.class_loss_reduction = class_loss_reduction
        self.teacher = EmaTeacher(self.student_parts(), **(teacher or {}))

    def student_parts(self) -> nn.ModuleDict:
        """What of the student the teacher follows."""
        return nn.ModuleDict({part: getattr(self, part) for part in self.teacher_parts})

    def init_weights(self) -> None:
        """Initialise as mmengine does; then the teacher starts from the student's weights."""
        super().init_weights()
        self.teacher.reset(self.student_parts())

    def compute_loss(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Losses of one batch; in training the teacher follows first."""
        self.follow()
        return self.losses(self.predict_masked(inputs, mask, generator))

    def follow(self) -> None:
        """Let the teacher follow the student, in training only."""
        if self.training:
            self.teacher.update(self.student_parts())

    def losses(self, result: FeaturePrediction) -> dict[str, Tensor]:
        """Losses, the deviation of the target between samples, and that of the prediction over all tokens.

        Both fall to 0 in a collapse; the first also where targets differ, but by their place alone.

        Errors are divided by the number of hidden tokens, its mean over the processes where there are several, so that
        the mean of their gradients is that of one process with all samples.
        """
        hidden = result.mask.masked.numel()
        count = result.prediction.new_tensor(float(hidden), dtype=torch.float32)
        all_reduce(count, op="mean")
        losses = {"loss": self.loss(result.prediction, result.target) / count}
        if self.class_loss_weight:
            error = self.loss(result.class_prediction, result.class_target)
            if self.class_loss_reduction == "mean":
                error = error / len(result.class_target)
            losses["loss_class"] = self.class_loss_weight * error * (hidden / count)
        losses["target_deviation"] = result.spread
        losses["prediction_deviation"] = deviation(result.prediction.flatten(0, 1))
        return losses

    def predict_masked(
        self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> FeaturePrediction:
        """Hide tokens of M copies of every sample and predict the teacher's features of them.

        ``mask``: of B M clones, for any M.
        """
        return self.predict_tokens(self.tokenizer(inputs), mask, generator)

    def predict_tokens(
        self, tokens: Tokens, mask: Mask | None = None, generator: torch.Generator | None = None
    ) -> FeaturePrediction:
        """As :meth:`predict_masked`, of tokens."""
        if mask is None:
            mask = draw_copies(self.masking, tokens, self.masks_per_sample, generator)
        features = embed(self.tokenizer, tokens.features)
        target = self.teach(tokens, features)
        latents = self.encoder(**entrance(self, tokens, features, mask))
        prediction = self.prediction(self.decoder(latents, tokens.coordinates, mask))
        copies = len(mask.masked) // tokens.batch_size
        class_prediction = class_target = None
        if self.encoder.class_token is not None:
            class_prediction = latents[:, 0]
            class_target = target.mean(dim=1).repeat_interleave(copies, dim=0)
        hidden = mask.gather_masked(target.repeat_interleave(copies, dim=0))
        return FeaturePrediction(prediction, hidden, mask, tokens, class_prediction, class_target, deviation(target))

    def encode(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Latents of the visible tokens of the clones that ``mask`` is for, or of all tokens without one."""
        return self.encoder(**entrance(self, tokens, embed(self.tokenizer, tokens.features), mask))

    @torch.no_grad()
    def teach(self, tokens: Tokens, features: Tensor) -> Tensor:
        """The teacher's normalised features of all tokens of the B samples [B, N, C].

        ``features``: the student's embedded tokens, for a teacher without tokenizer of its own.
        """
        parts = self.teacher.model
        if "tokenizer" in self.teacher_parts:
            features = embed(parts.tokenizer, tokens.features)
        encoder = parts.encoder
        given = entrance(self, tokens, features, parts=parts)
        layers = range(encoder.depth - self.target.layers, encoder.depth)
        outputs = encoder.branches(layers=layers, **given)
        return self.target([layer[:, layer.shape[1] - features.shape[1] :] for layer in outputs])

    def reconstruct(self, inputs: Tensor, mask: Mask | None = None, generator: torch.Generator | None = None) -> None:
        """There is nothing to draw.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{type(self).__name__} predicts features, not what can be drawn; drop ReconstructionHook")


def entrance(
    model: Data2Vec2, tokens: Tokens, features: Tensor, mask: Mask | None = None, parts: nn.ModuleDict | None = None
) -> dict[str, Tensor | None]:
    """What the encoder takes: visible tokens of the clones of ``mask``, their positions and who sees whom.

    Args:
        model: Whose parts are used.
        tokens: Of the B samples.
        features: Embedded tokens [B, N, C].
        mask: Of B M clones; None: all tokens of the B samples.
        parts: A teacher's parts, used in place of the model's where it has them.
    """
    chosen = {part: getattr(model, part) for part in ("position_embedding", "attention_bias")} | dict(parts or {})
    positions, bias = chosen["position_embedding"], chosen["attention_bias"]
    coordinates, padding = tokens.coordinates, tokens.padding
    if mask is not None:
        copies = len(mask.visible) // tokens.batch_size
        features, coordinates = (x.repeat_interleave(copies, dim=0) for x in (features, coordinates))
        padding = None if padding is None else mask.gather_visible(padding.repeat_interleave(copies, dim=0))
    reads_tokens = getattr(positions, "reads_tokens", False)
    if reads_tokens:
        shown = features if mask is None else features.masked_fill(mask.to_bool().unsqueeze(-1), 0)
        places = positions(shown)
    if mask is not None:
        features, coordinates = mask.gather_visible(features), mask.gather_visible(coordinates)
        places = mask.gather_visible(places) if reads_tokens else None
    return {
        "tokens": features,
        "positions": places if reads_tokens else positions(coordinates),
        "allowed": None if padding is None else _unpadded(padding),
        "bias": None if bias is None else bias(coordinates),
    }


def _unpadded(padding: Tensor) -> Tensor:
    """Bool [B, V, V]: every token sees those that are no padding; all, where nothing else is visible."""
    seen = ~padding | padding.all(dim=1, keepdim=True)
    return seen.unsqueeze(1).expand(-1, padding.shape[1], -1)


def deviation(features: Tensor) -> Tensor:
    """Standard deviation along the first axis, mean over the others; of a single row 0.001."""
    return features.detach().float().var(dim=0, correction=0).add(1e-6).sqrt().mean()
