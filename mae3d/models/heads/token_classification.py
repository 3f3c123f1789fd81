"""Classification of images, clips and other dense tokens on top of a (pre-trained) transformer.

Covers fine-tuning, linear probes and attentive probes; source: the official fine-tuning code of MAE and its successors.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError, DataError
from mae3d.models.building import build, embed, evaluating
from mae3d.models.layers.attentive_pool import AttentivePool
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth, pool, take_input
from mae3d.registry import MODELS

TokenPooling = Literal["mean", "class", "attentive"]
PooledNorm = Literal["none", "layer", "batch"]


@MODELS.register_module()
class TokenClassifier(BaseModel):
    """Tokens through the encoder, pooled to one vector, normalised, one linear layer.

    Args:
        tokenizer: Inputs -> tokens, module or config.
        position_embedding: Coordinates -> channels of the encoder.
        encoder: A :class:`ViT`.
        num_classes: Number of classes K.
        modality: Name of the field of a batch that the tokenizer takes, see :class:`MaskedAutoencoder`.
        pooling: "mean" over the tokens without the class token, taken before the encoder's final norm; "class": the
            class token; "attentive": :class:`AttentivePool`, over normalised tokens.
        norm: Of the pooled vector: "layer" (MAE's ``fc_norm``), "batch" without affine (linear probes) or "none".
        dropout: Before the linear layer.
        head_std: The linear layer's weight is normal with this deviation, cut at 2, its bias zero.
        head_scale: Its weight and bias are multiplied by this once (VideoMAE: 0.001).
        freeze: Train only pooling and head.
        label_smoothing: Share of probability spread over all K classes, where the batch has no soft ``target``; not
            with ``multi_label``.
        multi_label: Classes do not exclude each other: binary cross entropy of every class, sigmoids in the place of
            softmax.
        training_mask: Masking, module or config, of tokens that the encoder does not see in training.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    fresh = ("pool.", "norm.", "head.")
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        position_embedding: nn.Module | dict,
        encoder: nn.Module | dict,
        num_classes: int,
        *,
        modality: str = "image",
        pooling: TokenPooling = "mean",
        norm: PooledNorm = "layer",
        dropout: float = 0.0,
        head_std: float = 2e-5,
        head_scale: float = 1.0,
        freeze: bool = False,
        label_smoothing: float = 0.0,
        multi_label: bool = False,
        training_mask: nn.Module | dict | None = None,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = build(tokenizer)
        self.position_embedding = build(position_embedding)
        self.encoder = build(encoder)
        self.modality = modality
        self.pooling = self._check(pooling)
        width = self.encoder.embed_dim
        heads = self.encoder.blocks[0].attn.num_heads
        self.pool = AttentivePool(width, heads) if pooling == "attentive" else nn.Identity()
        self.norm = _norm(norm, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=head_std)
        nn.init.zeros_(self.head.bias)
        self.head.weight.data.mul_(head_scale)
        if multi_label and label_smoothing:
            raise ConfigError("TokenClassifier: label_smoothing is for one label a sample, not for multi_label=True")
        self.label_smoothing = label_smoothing
        self.multi_label = multi_label
        self.training_mask = None if training_mask is None else build(training_mask)
        if freeze:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith(self.fresh))

    def _check(self, pooling: str) -> str:
        if pooling not in ("mean", "class", "attentive"):
            raise ConfigError(f'TokenClassifier: pooling must be "mean", "class" or "attentive", got {pooling!r}')
        if pooling == "class" and self.encoder.class_token is None:
            raise ConfigError('TokenClassifier: pooling="class" needs an encoder with a class token')
        return pooling

    def forward(
        self,
        inputs: Tensor | None = None,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor | None = None,
        target: Tensor | None = None,
        **batch: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            inputs: What the tokenizer takes; None takes the field of ``batch`` that is named as the modality. In
                "predict" also several views of each sample, [B, views, ...].
            mode: "tensor" gives scores [B, K] before softmax; "loss" cross entropy (and the batch's accuracy);
                "predict" one dict per sample: ``scores`` [K] (of several views: mean probabilities), ``label`` and
                ``target``.
            label: int64 [B].
            target: float [B, K], probabilities of the classes in place of labels (mixup, cutmix, several labels).
            **batch: Fields of the batch; those not named here are not used.
        """
        inputs = take_input(self, inputs, batch)
        if mode == "tensor":
            return self.scores(inputs)
        if mode == "loss":
            return self.compute_loss(inputs, label, target)
        if mode == "predict":
            return self.predict(inputs, label, target)
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def scores(self, inputs: Tensor) -> Tensor:
        """Class scores [B, K] before softmax."""
        return self.head(self.dropout(self.norm(self.features(inputs))))

    def features(self, inputs: Tensor) -> Tensor:
        """Pooled latents [B, C], before the head's norm."""
        tokens = self.tokenizer(inputs)
        features, coordinates = tokens.features, tokens.coordinates
        if self.training and self.training_mask is not None:
            mask = self.training_mask(tokens)
            features, coordinates = mask.gather_visible(features), mask.gather_visible(coordinates)
        latents = self.encoder.encode(embed(self.tokenizer, features), self.position_embedding(coordinates))
        if self.pooling == "attentive":
            return self.pool(self.encoder.norm(latents))
        return self.encoder.norm(pool(latents, self.pooling, latents.shape[1] - coordinates.shape[1]))

    def compute_loss(self, inputs: Tensor, label: Tensor | None, target: Tensor | None = None) -> dict[str, Tensor]:
        """Cross entropy with soft targets where there are some, else with labels."""
        if target is None and label is None:
            raise DataError("TokenClassifier: a training batch needs label [B] or target [B, K]")
        scores = self.scores(inputs).float()
        if self.multi_label:
            wanted = F.one_hot(label, scores.shape[1]).to(scores) if target is None else target
            return {"loss": F.binary_cross_entropy_with_logits(scores, wanted)}
        if target is not None:
            return {"loss": F.cross_entropy(scores, target)}
        loss = F.cross_entropy(scores, label, label_smoothing=self.label_smoothing)
        return {"loss": loss, "accuracy": (scores.argmax(dim=-1) == label).float().mean()}

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, label: Tensor | None = None, target: Tensor | None = None
    ) -> list[dict[str, Tensor]]:
        """Scores per sample, see :meth:`forward`."""
        if inputs.dim() == 3 + len(self.tokenizer.patch_size):
            views = self.scores(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
            scores = (views.float().sigmoid() if self.multi_label else views.float().softmax(dim=-1)).mean(dim=1)
        else:
            scores = self.scores(inputs)
        fields = {"scores": scores, "label": label, "target": target}
        given = {name: rows for name, rows in fields.items() if rows is not None}
        return [dict(zip(given, rows)) for rows in zip(*given.values())]

    @torch.no_grad()
    def extract_features(self, inputs: Tensor) -> Tensor:
        """Pooled latents [B, C] in eval mode, without gradients."""
        with evaluating(self):
            return self.features(inputs)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(width, 1e-6)
    if kind == "batch":
        return nn.BatchNorm1d(width, 1e-6, affine=False)
    if kind != "none":
        raise ConfigError(f'TokenClassifier: norm must be "none", "layer" or "batch", got {kind!r}')
    return nn.Identity()
