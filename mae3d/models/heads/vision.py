"""Downstream networks of MAE, MAE-ST, VideoMAE and data2vec 2.0: their encoders under a :class:`TokenClassifier`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from mae3d.errors import ConfigError
from mae3d.models.heads.token_classification import TokenClassifier
from mae3d.models.methods import data2vec2_image, mae, mae_st, videomae
from mae3d.registry import MODELS

Protocol = Literal["fine_tune", "class_token", "linear_probe", "attentive_probe"]

PROTOCOLS: dict[str, dict[str, Any]] = {
    "fine_tune": {"pooling": "mean", "norm": "layer"},
    "class_token": {"pooling": "class", "norm": "none"},
    "linear_probe": {"norm": "batch", "head_std": 0.01, "freeze": True},
    "attentive_probe": {"pooling": "attentive", "norm": "none", "head_std": 0.02, "freeze": True},
}
"""What reads the encoder; the linear probe takes the class token where there is one."""


def head_options(name: str, *, class_token: bool) -> dict[str, Any]:
    """Options of :class:`TokenClassifier` for a protocol, on an encoder with or without a class token."""
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol must be one of {sorted(PROTOCOLS)}, got {name!r}")
    return {"pooling": "class" if class_token else "mean", **PROTOCOLS[name]}


class ImageClassifier(TokenClassifier):
    """Image classification with the encoder of a system.

    Args:
        num_classes: Number of classes.
        protocol: "fine_tune": mean of the patch latents before any norm, then a new LayerNorm, as published;
            "class_token": fine-tuning on the class token; "linear_probe": class token, BatchNorm without affine, only
            the head learns; "attentive_probe": :class:`AttentivePool` on frozen latents.
        image_size: Side in pixels, or (rows, columns); another size than in pre-training resizes the positions.
        patch_size: Side of a patch.
        in_channels: Channels of the image.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        drop_path: Rate at the last block.
        gradient_checkpointing: Recompute blocks in the backward pass.
        **options: See :class:`TokenClassifier`.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        protocol: Protocol = "fine_tune",
        *,
        image_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        encoder, head = self.parts(
            protocol,
            image_size=image_size,
            patch_size=patch_size,
            in_channels=in_channels,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
            gradient_checkpointing=gradient_checkpointing,
        )
        super().__init__(**encoder, num_classes=num_classes, **{**head, **options})

    @staticmethod
    @abstractmethod
    def parts(protocol: Protocol, **size: Any) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        """Tokenizer, position embedding and encoder of this size; options of :class:`TokenClassifier`."""


class ClipClassifier(TokenClassifier):
    """Clip classification with the encoder of a system.

    Args:
        num_classes: Number of classes.
        protocol: As in :class:`ImageClassifier`.
        clip_size: (frames, rows, columns).
        tubelet: (frames, rows, columns) of a token.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        drop_path: Rate at the last block.
        gradient_checkpointing: Recompute blocks in the backward pass.
        **options: See :class:`TokenClassifier`.
    """

    def __init__(
        self,
        num_classes: int = 400,
        protocol: Protocol = "fine_tune",
        *,
        clip_size: Sequence[int] = (16, 224, 224),
        tubelet: Sequence[int] = (2, 16, 16),
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        encoder, head = self.parts(
            protocol,
            clip_size=clip_size,
            tubelet=tubelet,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
            gradient_checkpointing=gradient_checkpointing,
        )
        super().__init__(**encoder, num_classes=num_classes, modality="video", **{**head, **options})

    @staticmethod
    @abstractmethod
    def parts(protocol: Protocol, **size: Any) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        """As those of :class:`ImageClassifier`."""


@MODELS.register_module()
class MAEClassifier(ImageClassifier):
    """Image classification with MAE's encoder (``drop_path``: B 0.1, L 0.2, H 0.3)."""

    @staticmethod
    def parts(protocol: Protocol, **size: Any) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        """The norm is the encoder's own unless it is fine-tuned."""
        encoder = mae.encoder_parts(**size, final_norm=protocol != "fine_tune", trainable_positions=True)
        return encoder, head_options(protocol, class_token=True)


@MODELS.register_module()
class Data2Vec2Classifier(ImageClassifier):
    """Image classification with data2vec 2.0's encoder (``drop_path``: B 0.1, L and H 0.2)."""

    @staticmethod
    def parts(protocol: Protocol, **size: Any) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        """A linear layer that starts larger than MAE's."""
        return data2vec2_image.encoder_parts(**size), {"head_std": 0.02, **head_options(protocol, class_token=True)}

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Block i is layer i; all else, the patch embedding too, is the last layer, which learns at the full rate."""
        depth = self.encoder.depth
        return (int(name.split(".")[2]) if name.startswith("encoder.blocks.") else depth), depth + 1


@MODELS.register_module()
class MAESTClassifier(ClipClassifier):
    """Clip classification with MAE-ST's encoder (``drop_path``: L 0.2)."""

    @staticmethod
    def parts(protocol: Protocol, **size: Any) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        """Fine-tuning keeps the pre-trained norm, behind the mean."""
        head = head_options(protocol, class_token=True)
        return mae_st.encoder_parts(**size), head | ({"norm": "none"} if protocol == "fine_tune" else {})


@MODELS.register_module()
class VideoMAEClassifier(ClipClassifier):
    """Clip classification with VideoMAE's encoder, which has no class token."""

    @staticmethod
    def parts(protocol: Protocol, **size: Any) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        """Fine-tuning discards the pre-trained final norm, as published."""
        encoder = videomae.encoder_parts(**size, final_norm=protocol != "fine_tune")
        small = {"head_std": 0.02, "head_scale": 0.001} if protocol == "fine_tune" else {}
        return encoder, head_options(protocol, class_token=False) | small


@MODELS.register_module()
def mae_classifier_test(**overrides: Any) -> MAEClassifier:
    """Fine-tuning network around the encoder of ``mae_test``."""
    small = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "head_std": 0.1}
    return MAEClassifier(**{**small, "num_classes": 5, "drop_path": 0.1, **overrides})


@MODELS.register_module()
def videomae_classifier_test(**overrides: Any) -> VideoMAEClassifier:
    """Fine-tuning network around the encoder of ``videomae_test``."""
    small = {"clip_size": (8, 16, 16), "tubelet": (2, 4, 4), "embed_dim": 32, "depth": 2, "num_heads": 2}
    return VideoMAEClassifier(**{**small, "num_classes": 5, "dropout": 0.1, "head_scale": 1.0, **overrides})


@MODELS.register_module()
def data2vec2_classifier_test(**overrides: Any) -> Data2Vec2Classifier:
    """Fine-tuning network around the encoder of ``data2vec2_image_test``."""
    small = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "head_std": 0.1}
    return Data2Vec2Classifier(**{**small, "num_classes": 5, "drop_path": 0.1, **overrides})
