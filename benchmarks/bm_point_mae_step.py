"""Point-MAE beside a plain restatement of it: parts and whole passes of the published size.

The peer is what one writes from the paper with torch alone: width-1 convolutions on [B, C, K], attention with an
explicit softmax, all pairwise distances for neighbours and Chamfer, a Python loop for furthest point sampling.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Case, run
from mae3d.models.methods import point_mae_base

TITLE = "Point-MAE, published size, batch 4 of 1024 points"
BATCH = 4


def plain_patches(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    batch = torch.arange(len(points))
    allowed = points.square().sum(-1) > 1e-3
    nearest = torch.full(points.shape[:2], 1e10)
    chosen = [torch.zeros(len(points), dtype=torch.int64)]
    for _ in range(groups - 1):
        nearest = torch.minimum(nearest, (points - points[batch, chosen[-1]][:, None]).square().sum(-1))
        chosen.append(nearest.masked_fill(~allowed, -1).argmax(1))
    centers = points[batch[:, None], torch.stack(chosen, 1)]
    index = torch.cdist(centers, points).topk(size, largest=False).indices
    return points[batch[:, None, None], index] - centers[:, :, None], centers


class PlainPointNet(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        self.second = nn.Sequential(nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, width, 1))

    def forward(self, patches: Tensor) -> Tensor:
        batch, groups, size, _ = patches.shape
        x = self.first(patches.reshape(-1, size, 3).transpose(1, 2))
        x = torch.cat((x.max(2, keepdim=True)[0].expand(-1, -1, size), x), 1)
        return self.second(x).max(2)[0].reshape(batch, groups, -1)


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.proj((weights @ qkv[2]).transpose(1, 2).reshape(batch, count, width))
        return x + self.mlp(self.norm2(x))


class PlainPointMAE(nn.Module):
    def __init__(self, width: int = 384, groups: int = 64, size: int = 32) -> None:
        super().__init__()
        self.groups, self.size = groups, size
        self.embedding = PlainPointNet(width)
        self.position = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.decoder_position = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.encoder = nn.ModuleList(PlainBlock(width, 6) for _ in range(12))
        self.decoder = nn.ModuleList(PlainBlock(width, 6) for _ in range(4))
        self.norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.head = nn.Conv1d(width, 3 * size, 1)

    def forward(self, points: Tensor) -> Tensor:
        patches, centers = plain_patches(points, self.groups, self.size)
        tokens = self.embedding(patches)
        batch, masked = len(points), int(0.6 * self.groups)
        hidden = torch.rand(batch, self.groups).argsort(1) < masked
        x = tokens[~hidden].reshape(batch, -1, tokens.shape[-1])
        position = self.position(centers[~hidden].reshape(batch, -1, 3))
        for block in self.encoder:
            x = block(x + position)
        x = torch.cat((self.norm(x), self.mask_token.expand(batch, masked, -1)), 1)
        ordered = torch.cat((centers[~hidden].reshape(batch, -1, 3), centers[hidden].reshape(batch, -1, 3)), 1)
        position = self.decoder_position(ordered)
        for block in self.decoder:
            x = block(x + position)
        x = self.head(self.decoder_norm(x[:, -masked:]).transpose(1, 2)).transpose(1, 2).reshape(-1, self.size, 3)
        squared = (x[:, :, None] - patches[hidden][:, None]).square().sum(-1)
        return squared.amin(1).mean() + squared.amin(2).mean()


def cases() -> list[Case]:
    torch.manual_seed(0)
    points = torch.randn(BATCH, 1024, 3) * 0.4
    ours, plain = point_mae_base(drop_path=0.0), PlainPointMAE()
    patches = ours.tokenizer(points).content

    def train(model: nn.Module, loss: Tensor) -> None:
        model.zero_grad(set_to_none=True)
        loss.backward()

    def infer(call):
        with torch.no_grad():
            return call()

    return [
        Case(
            "patch embedding, forward",
            lambda: infer(lambda: ours.tokenizer.embedding(patches)),
            {"plain torch": lambda: infer(lambda: plain.embedding(patches))},
        ),
        Case(
            "patch embedding, forward and backward",
            lambda: train(ours, ours.tokenizer.embedding(patches).square().mean()),
            {"plain torch": lambda: train(plain, plain.embedding(patches).square().mean())},
        ),
        Case(
            "pre-training, forward",
            lambda: infer(lambda: ours(points, mode="loss")),
            {"plain torch": lambda: infer(lambda: plain(points))},
        ),
        Case(
            "pre-training, forward and backward",
            lambda: train(ours, ours(points, mode="loss")["loss"]),
            {"plain torch": lambda: train(plain, plain(points))},
        ),
    ]


if __name__ == "__main__":
    run(TITLE, cases())
