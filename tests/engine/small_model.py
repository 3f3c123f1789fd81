"""A real, small masked autoencoder of point sets, and data for it: what the engine's tests train."""

from __future__ import annotations

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn
from torch.utils.data import Dataset


class Clouds(Dataset):
    """Ellipsoids of three proportions; the points are drawn anew each time from the global generator."""

    classes = ("sphere", "disc", "rod")

    def __init__(self, size: int = 24, points: int = 32, poison: int = -1) -> None:
        self.size = size
        self.points = points
        self.poison = poison

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        label = index % 3
        axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])[label]
        points = nn.functional.normalize(torch.randn(self.points, 3), dim=-1) * axes
        if index == self.poison:
            points = points * float("nan")
        return {"points": points, "label": torch.tensor(label), "index": torch.tensor(index)}

    def sample_name(self, index: int) -> str:
        return f"clouds/{index:04d}.npy"


class SmallAutoencoder(BaseModel):
    """Predict hidden points of a cloud from the pooled features of the visible ones, and its class."""

    tokens_per_sample = 32

    def __init__(
        self,
        width: int = 16,
        dropout: float = 0.1,
        random_mask: bool = True,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or {"type": BaseDataPreprocessor})
        self.random_mask = random_mask
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.blocks = nn.ModuleList([nn.Linear(3, width), nn.Linear(width, width)])
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 3)
        self.classifier = nn.Linear(width, 3)

    def extract_features(self, points: torch.Tensor, **unused) -> torch.Tensor:
        hidden = torch.relu(self.blocks[0](points))  # [B, N, width]
        return self.norm(torch.relu(self.blocks[1](hidden)).amax(dim=1))  # [B, width]

    def forward(self, points, mode="tensor", *, label=None, **annotations):
        if mode == "tensor":
            return self.extract_features(points)
        if mode == "predict":
            scores = self.classifier(self.extract_features(points))
            return [{"scores": row, "label": own} for row, own in zip(scores, label)]
        order = torch.rand(points.shape[:2], device=points.device) if self.random_mask else points[..., 0]
        kept = order.argsort(1)[:, : points.shape[1] // 2]
        visible = points.gather(1, kept[..., None].expand(-1, -1, 3))
        features = self.dropout(self.extract_features(visible))
        predicted = self.head(features + self.mask_token)
        return {
            "loss_mean": (predicted - points.mean(1)).square().mean(),
            "loss_class": nn.functional.cross_entropy(self.classifier(features), label),
            "visible_fraction": points.new_tensor(0.5),
        }

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1, 4
        return (0, 4) if "token" in name else (3, 4)
