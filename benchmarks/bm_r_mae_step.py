"""R-MAE pre-training step with the occupancy decoder as published (dense) and without its dense grid.

The dense decoder is plain torch: three transposed convolutions over the whole grid and binary cross-entropy on every
cell. Both give the same loss and gradients; the loss is compared before timing. Memory: bytes of the tensors that the
forward pass keeps for the backward pass, each storage counted once, without the parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.bm_voxel_mae_step import driving_cloud, kept_megabytes
from benchmarks.harness import Case, run
from mae3d.models.methods import RMAE
from mae3d.structures import VoxelMask

TITLE = "R-MAE step: occupancy decoder without and with its dense grid"
POINTS = 60_000
SIDES = {"quarter of nuScenes": 25.6, "nuScenes": 51.2}
"""Name -> half the side of the square, metres; voxels of 0.1 x 0.1 x 0.2 m."""


def setting(side: float, device: str) -> tuple[RMAE, Tensor, Tensor, VoxelMask]:
    torch.manual_seed(0)
    model = RMAE((-side, -side, -5.0, side, side, 3.0), (0.1, 0.1, 0.2), 4, max_points=10, max_voxels=(60000, 60000))
    model = model.to(device).train()
    model.tokenizer.shuffle = False
    points, offsets = driving_cloud(POINTS).to(device), torch.tensor([0, POINTS], device=device)
    mask = model.masking(model.tokenizer(points, offsets), torch.Generator().manual_seed(0))
    return model, points, offsets, mask


def cases() -> list[Case]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = []
    for name, side in SIDES.items():
        model, points, offsets, mask = setting(side, device)

        def loss(way: str, model=model, points=points, offsets=offsets, mask=mask) -> Tensor:
            model.decoding = way
            return model(points, "loss", offsets=offsets, mask=mask)["loss"]

        def step(way: str, model=model, loss=loss) -> Callable[[], None]:
            def once() -> None:
                model.zero_grad(set_to_none=True)
                loss(way).backward()

            return once

        x, y, z = model.tokenizer.grid.grid_size
        title = f"{name}: {x * y * (z + 1) / 1e6:.1f} M cells, {mask.num_visible} of {mask.num_voxels} voxels"
        torch.testing.assert_close(loss("sparse"), loss("dense"), rtol=1e-5, atol=0)
        kept = {way: kept_megabytes(lambda way=way, loss=loss: loss(way), model) for way in ("sparse", "dense")}
        result.append(Case(title, step("sparse"), {"dense decoder": step("dense")}, kept=kept))
    return result


if __name__ == "__main__":
    run(TITLE, cases())
