"""A pre-training step of MAE ViT-B/16 beside a plain restatement of the official formulation.

The peer is what the official code computes, with torch alone: a strided convolution over the whole image, shuffled
tokens, attention with an explicit softmax, mask tokens put back in place, every patch normalised and predicted, the
loss masked. Sizes are the same; that the numbers are, tests/models/test_vision.py shows.

On a GPU both run in bfloat16 and compiled, and the share of the device's peak that the model's own products reach
(model FLOP utilisation: forward and backward, nothing that is recomputed) is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Case, measure, run
from mae3d.models.layers import sincos_table
from mae3d.models.methods import mae_base

GPU = torch.cuda.is_available()
BATCH = 256 if GPU else 4
TITLE = f"MAE ViT-B/16, training step, batch {BATCH} of 224 x 224"
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12}
"""bfloat16 products of dense matrices a second, from the makers' data sheets."""


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-2, -1) * self.scale).softmax(dim=-1)
        x = x + self.proj((weights @ qkv[2]).transpose(1, 2).reshape(batch, count, width))
        return x + self.mlp(self.norm2(x))


class PlainMAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 768, 16, 16)
        self.cls_token, self.mask_token = nn.Parameter(torch.zeros(1, 1, 768)), nn.Parameter(torch.zeros(1, 1, 512))
        self.register_buffer("pos_embed", sincos_table((14, 14), 768)[None])
        self.register_buffer("decoder_pos_embed", nn.functional.pad(sincos_table((14, 14), 512), (0, 0, 1, 0))[None])
        self.blocks = nn.Sequential(*(PlainBlock(768, 12) for _ in range(12)))
        self.decoder_blocks = nn.Sequential(*(PlainBlock(512, 16) for _ in range(8)))
        self.norm, self.decoder_norm = nn.LayerNorm(768, 1e-6), nn.LayerNorm(512, 1e-6)
        self.decoder_embed, self.decoder_pred = nn.Linear(768, 512), nn.Linear(512, 768)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed
        batch, count, width = x.shape
        order = torch.rand(batch, count, device=x.device).argsort(dim=1)
        restore = order.argsort(dim=1)
        x = x.gather(1, order[:, :49, None].expand(-1, -1, width))
        mask = torch.ones(batch, count, device=x.device)
        mask[:, :49] = 0
        mask = mask.gather(1, restore)
        x = self.norm(self.blocks(torch.cat((self.cls_token.expand(batch, -1, -1), x), dim=1)))
        x = self.decoder_embed(x)
        tokens = torch.cat((x[:, 1:], self.mask_token.expand(batch, count - 49, -1)), dim=1)
        tokens = tokens.gather(1, restore[..., None].expand(-1, -1, 512))
        x = self.decoder_blocks(torch.cat((x[:, :1], tokens), dim=1) + self.decoder_pos_embed)
        prediction = self.decoder_pred(self.decoder_norm(x))[:, 1:]
        target = images.reshape(batch, 3, 14, 16, 14, 16).permute(0, 2, 4, 3, 5, 1).reshape(batch, count, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        return ((prediction - target).square().mean(-1) * mask).sum() / mask.sum()


def flops(batch: int) -> float:
    """Of one step: twice the multiplications of forward, times three for forward and backward."""

    def transformer(tokens: int, width: int, depth: int) -> int:
        return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)

    products = transformer(50, 768, 12) + transformer(197, 512, 8)
    products += 49 * 768 * 768 + 50 * 768 * 512 + 147 * 512 * 768  # patches, projection, prediction of hidden ones
    return 6.0 * products * batch


def training_step(model: nn.Module, loss_of):
    """Forward, backward and AdamW; in bfloat16 and compiled on a GPU."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, (0.9, 0.95), weight_decay=0.05, fused=GPU)
    forward = torch.compile(loss_of) if GPU else loss_of

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=GPU):
            loss = forward()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def cases() -> list[Case]:
    torch.manual_seed(0)
    device = "cuda" if GPU else "cpu"
    images = torch.randn(BATCH, 3, 224, 224, device=device)
    ours, plain = mae_base().to(device), PlainMAE().to(device)
    steps = training_step(ours, lambda: ours(images, mode="loss")["loss"]), training_step(plain, lambda: plain(images))
    return [Case("pre-training step", steps[0], {"official formulation": steps[1]})]


def utilisation(case: Case) -> str:
    """Share of the peak that both reach; empty for a device whose peak is not known."""
    name = torch.cuda.get_device_name() if GPU else ""
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    if peak is None:
        return ""
    lines = []
    for who, step in (("mae3d", case.ours), *case.peers.items()):
        seconds = measure(step, threads=1) / 1e3
        rate = flops(BATCH) / seconds
        lines.append(
            f"{who}: {BATCH / seconds:.0f} images/s, {rate / 1e12:.0f} TFLOP/s, {rate / peak:.1%} of {peak:.3g}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    (case,) = cases()
    run(TITLE, [case])
    print(utilisation(case))
