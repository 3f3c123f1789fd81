"""MAE through the real command line: pre-training with a probe and pictures, fine-tuning on its encoder."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.engine.runs import ROOT, run

CONFIGS = ROOT / "configs" / "mae"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Ten classes of three and one images, one colour a class."""
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("validation", 1)):
        for label in range(10):
            (root / split / str(label)).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 60, (70, 80, 3)) + 18 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / str(label) / f"{number}.png")
    return root


def test_pretraining_then_fine_tuning(photographs, tmp_path):
    where = f"dataset.root={photographs}"
    output = run(
        str(CONFIGS / "mae_tiny_10e_clothing.py"),
        *("--work-dir", str(tmp_path / "pre"), "--cfg-options", "train_cfg.max_epochs=1", "model.depth=1"),
        *("param_scheduler.0.warmup=0", "train_dataloader.batch_size=15", f"train_dataloader.{where}"),
        *(f"custom_hooks.0.{split}_dataloader.{where}" for split in ("train", "test")),
        f"custom_hooks.1.dataloader.{where}",
    )
    assert len(re.findall(r"probe \(knn\) at [01]: accuracy [01]\.\d+", output)) == 2
    assert "tokens_per_second" in output
    pictures = sorted(path.name for path in (tmp_path / "pre" / "pictures").iterdir())
    assert pictures == ["reconstruction_000000.png", "reconstruction_000001.png"]
    output = run(
        str(CONFIGS / "mae_tiny-fine-tune_10e_clothing.py"),
        *("--work-dir", str(tmp_path / "fine"), "--amp", "bf16", "--cfg-options", "train_cfg.max_epochs=1"),
        *("model.depth=1", f"model.init_cfg.checkpoint={tmp_path / 'pre' / 'epoch_1.pth'}"),
        *("param_scheduler.0.warmup=0", "train_dataloader.batch_size=15", f"train_dataloader.{where}"),
        f"val_dataloader.{where}",
    )
    assert "17 tensors loaded, 4 new" in output
    assert re.search(r"classification/accuracy: [01]\.\d+", output)
