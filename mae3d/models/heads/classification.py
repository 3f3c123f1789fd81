"""Classification of whole clouds on top of a (pre-trained) patch transformer.

Source: the fine-tuning network of Point-BERT and Point-MAE, shared by their successors.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.building import build
from mae3d.models.layers.initialization import Initialization, initialize
from mae3d.models.methods.masked_autoencoder import encoder_layer_depth
from mae3d.registry import MODELS

HeadKind = Literal["mlp3", "mlp2", "linear"]


def classification_head(kind: HeadKind, input_dim: int, num_classes: int, hidden_dim: int = 256) -> nn.Sequential:
    """Layers from a cloud's feature to its class scores.

    Args:
        kind: "mlp3": Linear, BatchNorm, ReLU, Dropout, twice, then Linear (Point-MAE); "mlp2": Linear, ReLU, Dropout,
            Linear (Point-BERT); "linear": one Linear (frozen transfer).
        input_dim: Width of the feature.
        num_classes: Number of scores.
        hidden_dim: Width between.
    """
    if kind == "linear":
        return nn.Sequential(nn.Linear(input_dim, num_classes))
    if kind == "mlp2":
        return nn.Sequential(
            nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden_dim, num_classes)
        )
    if kind != "mlp3":
        raise ConfigError(f'classification_head: kind must be "mlp3", "mlp2" or "linear", got {kind!r}')
    layers: list[nn.Module] = []
    for width in (input_dim, hidden_dim):
        layers += [nn.Linear(width, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(hidden_dim, num_classes))


@MODELS.register_module()
class PointClassifier(BaseModel):
    """Tokens with a class token through the encoder; the head reads [class latent | maximum over patch latents].

    Args:
        tokenizer: Clouds -> tokens, module or config.
        position_embedding: Coordinates -> channels of the encoder.
        encoder: A :class:`ViT` with a class token.
        num_classes: Number of classes.
        head: See :func:`classification_head`.
        head_initialization: Of the head's linear layers: "default" is torch's, as published when starting from
            pre-trained weights; "trunc_normal" as published when training from scratch.
        freeze: Train only the class token, its position and the head. BatchNorm of the tokenizer still follows the
            data, as published.
        label_smoothing: Share of probability spread over the other n - 1 classes (published value 0.2; torch's own
            argument spreads it over all n).
        voting: A :class:`Voting`: "predict" then adds ``vote_scores``.
        data_preprocessor: Batch preprocessor, module or config.
        init_cfg: mmengine weight initialisation, usually the pre-trained encoder.
    """

    modality = "points"
    fresh = ("encoder.class_token", "encoder.class_position", "head.")
    """Prefixes of tensors that a pre-training file need not hold."""

    def __init__(
        self,
        tokenizer: nn.Module | dict,
        position_embedding: nn.Module | dict,
        encoder: nn.Module | dict,
        num_classes: int,
        *,
        head: HeadKind = "mlp3",
        head_initialization: Initialization = "default",
        freeze: bool = False,
        label_smoothing: float = 0.0,
        voting: nn.Module | dict | None = None,
        data_preprocessor: nn.Module | dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(None if data_preprocessor is None else build(data_preprocessor), init_cfg)
        self.tokenizer = build(tokenizer)
        self.position_embedding = build(position_embedding)
        self.encoder = build(encoder)
        if self.encoder.class_token is None:
            raise ConfigError("PointClassifier: the encoder needs class_token=True")
        self.head = classification_head(head, 2 * self.encoder.embed_dim, num_classes)
        initialize(self.head, head_initialization)
        self.smoothing = label_smoothing * num_classes / max(1, num_classes - 1)
        self.voting = None if voting is None else build(voting)
        if freeze:
            self._freeze()

    def _freeze(self) -> None:
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(self.fresh))

    def forward(
        self,
        points: Tensor,
        mode: Literal["tensor", "loss", "predict"] = "tensor",
        *,
        label: Tensor | None = None,
        generator: torch.Generator | None = None,
        **annotations: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run one batch.

        Args:
            points: [B, N, 3 or more].
            mode: "tensor" gives scores [B, n] before softmax; "loss" cross entropy (and the batch's accuracy);
                "predict" one dict per sample: ``scores`` [n], ``label``, and with voting ``vote_scores`` [R, n].
            label: int64 [B].
            generator: Of the voting's draws.
            **annotations: Further fields of the batch, not used.
        """
        if mode == "tensor":
            return self.head(self.features(points))
        if mode == "loss":
            scores = self.head(self.features(points)).float()
            loss = F.cross_entropy(scores, label, label_smoothing=self.smoothing)
            return {"loss": loss, "accuracy": (scores.argmax(dim=-1) == label).float().mean()}
        if mode == "predict":
            return self.predict(points, label, generator)
        raise ValueError(f'mode must be "tensor", "loss" or "predict", got {mode!r}')

    def features(self, points: Tensor) -> Tensor:
        """What the head reads, [B, 2 C]."""
        tokens = self.tokenizer(points)
        latents = self.encoder(tokens.features, self.position_embedding(tokens.coordinates))
        return torch.cat((latents[:, 0], latents[:, 1:].amax(dim=1)), dim=-1)

    @torch.no_grad()
    def predict(
        self, points: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None
    ) -> list[dict[str, Tensor]]:
        """Scores per sample, see :meth:`forward`."""
        fields: dict[str, Tensor] = {}
        if self.voting is None:
            fields["scores"] = self(points)
        else:
            fields["scores"] = self(self.voting.plain_points(points, generator))
            fields["vote_scores"] = self.voting(self, points, generator)
        if label is not None:
            fields["label"] = label
        return [{name: values[row] for name, values in fields.items()} for row in range(len(points))]

    @torch.no_grad()
    def extract_features(self, points: Tensor) -> Tensor:
        """What the head reads, [B, 2 C], without gradients."""
        return self.features(points)

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Layer of a parameter and number of layers, see :meth:`MaskedAutoencoder.get_layer_depth`."""
        return encoder_layer_depth(name, self.encoder.depth)
