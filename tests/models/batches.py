"""Example batches, one per kind of input, small enough for every ``*_test`` model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

Batch = dict[str, Any]


def point_batch(seed: int) -> Batch:
    """Four object clouds with category and part labels."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "points": torch.randn(4, 96, 3, generator=generator),
        "label": torch.tensor([0, 1, 2, 3]),
        "part_label": torch.randint(0, 4, (4, 96), generator=generator),
        "index": torch.arange(4),
    }


def surface_batch(seed: int) -> Batch:
    """Four caps of spheres, 96 points each, with normals."""
    generator = torch.Generator().manual_seed(seed)
    normals = torch.randn(4, 96, 3, generator=generator) + torch.tensor([0.0, 2.0, 0.0])
    normals = normals / normals.norm(dim=-1, keepdim=True)
    points = normals * (0.5 + torch.rand(4, 1, 1, generator=generator))
    return {"points": torch.cat((points, normals), dim=-1), "label": torch.arange(4), "index": torch.arange(4)}


def lidar_batch(seed: int) -> Batch:
    """Three packed clouds of 200, 0 and 320 points inside +-8 m and +-2 m, with a lag, and their boxes."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(520, 4, generator=generator) * torch.tensor([16, 16, 4, 0.5]) - torch.tensor([8, 8, 2, 0])
    return {
        "points": points,
        "offsets": torch.tensor([0, 200, 200, 520]),
        "boxes": torch.tensor([[2.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.3, 1.0, 0.0], [-3, -2, 0, 1, 1, 2, 0, 0, 0]]),
        "box_labels": torch.tensor([0, 1]),
        "box_points": torch.tensor([20, 5]),
        "box_offsets": torch.tensor([0, 1, 1, 2]),
        "index": torch.arange(3),
    }


def cloud_batch(seed: int) -> Batch:
    """Three packed object clouds of 90, 1 and 150 coloured points inside the unit ball, with labels."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(241, 6, generator=generator)
    points[:, :3] *= torch.rand(241, 1, generator=generator) / points[:, :3].norm(dim=1, keepdim=True)
    return {
        "points": points,
        "offsets": torch.tensor([0, 90, 91, 241]),
        "label": torch.tensor([0, 1, 2]),
        "index": torch.arange(3),
    }


def image_batch(seed: int) -> Batch:
    """Four images of 32 x 32 pixels with a class."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(4, 3, 32, 32, generator=generator)
    return {"image": image, "label": torch.tensor([0, 1, 2, 3]), "index": torch.arange(4)}


def video_batch(seed: int) -> Batch:
    """Four clips of 8 frames of 16 x 16 pixels with a class."""
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(4, 3, 8, 16, 16, generator=generator)
    return {"video": video, "label": torch.tensor([0, 1, 2, 3]), "index": torch.arange(4)}


def spectrogram_batch(seed: int) -> Batch:
    """Four spectrograms of 64 frames and 32 mel bins, with a class and with several labels."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "spectrogram": 0.5 * torch.randn(4, 1, 64, 32, generator=generator),
        "label": torch.tensor([0, 1, 2, 3]),
        "target": torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]]),
        "index": torch.arange(4),
    }


def token_batch(seed: int) -> Batch:
    """Three packed texts of 12, 3 and 20 tokens between [CLS] and [SEP], some words of several pieces."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, 12, 15, 35])
    tokens = torch.randint(104, 160, (35,), generator=generator)
    tokens[[5, 17]] = 100
    words = (torch.rand(35, generator=generator) < 0.7).long()
    for start, end in pairwise(offsets.tolist()):
        tokens[start], tokens[end - 1] = 101, 102
        words[start + 1] = 1
        words[start:end] = words[start:end].cumsum(0) - 1 - words[start]
        words[start] = words[end - 1] = -1
    return {"tokens": tokens, "offsets": offsets, "words": words, "index": torch.arange(3)}


def text_pair_batch(seed: int) -> Batch:
    """Three queries with two passages each, scored by a teacher and by people."""
    first, second, third = (token_batch(seed + step) for step in (0, 100, 200))
    return {
        "query_tokens": first["tokens"],
        "query_offsets": first["offsets"],
        "passage_tokens": torch.cat((second["tokens"], third["tokens"])),
        "passage_offsets": torch.cat((second["offsets"], third["offsets"][1:] + 35)),
        "teacher_scores": torch.tensor([[3.0, 1.0], [2.0, -1.0], [0.5, 0.0]]),
        "score": torch.tensor([5.0, 2.5, 0.0]),
        "index": torch.arange(3),
    }


def waveform_batch(seed: int) -> Batch:
    """Three sounds of 600 samples with a class."""
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.randn(3, 600, generator=generator)
    return {"waveform": waveform, "label": torch.tensor([0, 1, 2]), "index": torch.arange(3)}


def lidar_pair_batch(seed: int) -> Batch:
    """:func:`lidar_batch` with earlier frames of 180, 50 and 0 points."""
    generator = torch.Generator().manual_seed(seed + 1000)
    points = torch.rand(230, 4, generator=generator) * torch.tensor([16, 16, 4, 0.5]) - torch.tensor([8, 8, 2, 0])
    return {**lidar_batch(seed), "previous_points": points, "previous_offsets": torch.tensor([0, 180, 230, 230])}


BATCHES: dict[str, Callable[[int], Batch]] = {
    "points": point_batch,
    "surfaces": surface_batch,
    "lidar": lidar_batch,
    "lidar_pair": lidar_pair_batch,
    "clouds": cloud_batch,
    "image": image_batch,
    "video": video_batch,
    "spectrogram": spectrogram_batch,
    "waveform": waveform_batch,
    "tokens": token_batch,
    "text_pairs": text_pair_batch,
}


def example_batch(model: nn.Module, seed: int = 0) -> Batch:
    """A batch that ``model`` takes."""
    return BATCHES["surfaces" if hasattr(model, "with_surface") else model.modality](seed)
