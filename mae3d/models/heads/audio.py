"""Downstream network of Audio-MAE: its encoder under a :class:`TokenClassifier`."""

from __future__ import annotations

from typing import Any

from mae3d.models.heads.token_classification import TokenClassifier
from mae3d.models.heads.vision import Protocol, head_options
from mae3d.models.masking import TimeFrequencyMasking
from mae3d.models.methods import audio_mae
from mae3d.models.methods.audio_mae import PositionCode
from mae3d.registry import MODELS


@MODELS.register_module()
class AudioMAEClassifier(TokenClassifier):
    """Audio classification with Audio-MAE's encoder.

    Args:
        num_classes: Number of classes.
        protocol: As in :class:`mae3d.models.heads.vision.ImageClassifier`; fine-tuning discards the pre-trained norm
            and puts a new one behind the mean of the patch latents.
        frames: Frames of a spectrogram; fewer than in pre-training cut the positions.
        bins: Mel bins.
        patch_size: Side of a patch.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        drop_path: Rate at the last block.
        time_ratio: Share of time steps that the encoder does not see in training (AudioSet 0.2).
        frequency_ratio: Share of bands.
        positions: See :class:`mae3d.models.methods.AudioMAE`; only of interest without pre-training.
        gradient_checkpointing: Recompute blocks in the backward pass.
        **options: See :class:`TokenClassifier`; ``multi_label=True`` for AudioSet.
    """

    def __init__(
        self,
        num_classes: int = 527,
        protocol: Protocol = "fine_tune",
        *,
        frames: int = 1024,
        bins: int = 128,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path: float = 0.0,
        time_ratio: float = 0.0,
        frequency_ratio: float = 0.0,
        positions: PositionCode = "published",
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> None:
        parts = audio_mae.encoder_parts(
            frames=frames,
            bins=bins,
            patch_size=patch_size,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
            final_norm=protocol != "fine_tune",
            positions=positions,
            gradient_checkpointing=gradient_checkpointing,
        )
        masked = time_ratio > 0 or frequency_ratio > 0
        chosen = {
            **head_options(protocol, class_token=True),
            "training_mask": TimeFrequencyMasking(time_ratio, frequency_ratio) if masked else None,
        }
        super().__init__(**parts, num_classes=num_classes, modality="spectrogram", **{**chosen, **options})


@MODELS.register_module()
def audio_mae_classifier_test(**overrides: Any) -> AudioMAEClassifier:
    """Fine-tuning network around the encoder of ``audio_mae_test``, with several labels and hidden tokens."""
    small = {"frames": 64, "bins": 32, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2, "head_std": 0.1}
    small |= {"num_classes": 5, "drop_path": 0.1, "time_ratio": 0.25, "frequency_ratio": 0.25, "multi_label": True}
    return AudioMAEClassifier(**{**small, **overrides})
