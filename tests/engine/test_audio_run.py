"""Audio-MAE through the real command line: pre-training with a probe and pictures, fine-tuning on its encoder."""

import re

import numpy as np
import pytest

from tests.engine.runs import ROOT, run

CONFIGS = ROOT / "configs" / "audio_mae"
soundfile = pytest.importorskip("soundfile", reason="sound files need the extra mae3d[audio]")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Ten tones, four files each, named as the spoken digits are: number 0 is held out."""
    root = tmp_path_factory.mktemp("digits")
    time = np.arange(4000) / 8000
    for digit in range(10):
        for number in (0, 3, 4, 5):
            tone = 0.3 * np.sin(2 * np.pi * (300 + 200 * digit + 3 * number) * time)
            soundfile.write(root / f"{digit}_somebody_{number}.wav", tone[: 4000 - 300 * number], 8000)
    return root


def test_pretraining_then_fine_tuning(digits, tmp_path):
    where = f"dataset.root={digits}"
    output = run(
        str(CONFIGS / "audio-mae_tiny_40e_digits.py"),
        *("--work-dir", str(tmp_path / "pre"), "--cfg-options", "train_cfg.max_epochs=1", "model.depth=1"),
        *("param_scheduler.0.warmup=0", "train_dataloader.batch_size=15", f"train_dataloader.{where}"),
        *(f"custom_hooks.0.{split}_dataloader.{where}" for split in ("train", "test")),
        f"custom_hooks.1.dataloader.{where}",
    )
    assert len(re.findall(r"probe \(linear\) at [01]: accuracy [01]\.\d+", output)) == 2
    assert "tokens_per_second" in output
    pictures = sorted(path.name for path in (tmp_path / "pre" / "pictures").iterdir())
    assert pictures == ["reconstruction_000000.png", "reconstruction_000001.png"]
    output = run(
        str(CONFIGS / "audio-mae_tiny-fine-tune_40e_digits.py"),
        *("--work-dir", str(tmp_path / "fine"), "--amp", "bf16", "--cfg-options", "train_cfg.max_epochs=1"),
        *("model.depth=1", f"model.init_cfg.checkpoint={tmp_path / 'pre' / 'epoch_1.pth'}"),
        *("param_scheduler.0.warmup=0", "train_dataloader.batch_size=15", f"train_dataloader.{where}"),
        f"val_dataloader.{where}",
    )
    assert "17 tensors loaded, 4 new" in output
    assert re.search(r"classification/accuracy: [01]\.\d+", output)
