"""P3P's configs turn clouds about the vertical of their files, and give the model z up, as in pre-training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mae3d.datasets.objects import LiftedImages
from mae3d.datasets.transforms import SwapYZ
from mae3d.engine.config import load_config
from mae3d.registry import TRANSFORMS
from tests.engine.runs import ROOT

CONFIGS = sorted((ROOT / "configs" / "p3p").glob("*.py"))


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(np.corrcoef(first.double().numpy(), second.double().numpy())[0, 1])


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_height_stays_height(path, phase) -> None:
    cfg = load_config(path)
    up = 2 if cfg.train_dataloader.dataset.type is LiftedImages else 1  # object data sets have y up
    files = torch.randn(4, 200, 3, generator=torch.Generator().manual_seed(0))
    batch = {"points": files}
    for number, transform in enumerate(cfg.data_preprocessor[f"{phase}_transforms"]):
        batch = TRANSFORMS.build(transform)(batch, torch.Generator().manual_seed(number))
    for before, after in zip(files, batch["points"]):
        assert correlation(before[:, up], after[:, 2]) == pytest.approx(1, abs=1e-5)


def test_swap_leaves_colours() -> None:
    points = torch.arange(12.0).view(2, 6)
    swapped = SwapYZ()({"points": points, "offsets": torch.tensor([0, 2])})["points"]
    assert swapped.tolist() == [[0, 2, 1, 3, 4, 5], [6, 8, 7, 9, 10, 11]]
