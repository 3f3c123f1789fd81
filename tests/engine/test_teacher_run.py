"""An averaging teacher in real runs: resumed in the middle of a step, and under two processes."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.runs import CONFIG, logged, run, run_processes

TEACHER = str(CONFIG.with_name("config_teacher.py"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Ten images of noise: five batches an epoch."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "train" / "noise").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(10):
        pixels = generator.integers(0, 255, (40, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "train" / "noise" / f"{number}.png")
    return f"train_dataloader.dataset.root={root}"


def weights(path):
    content = torch.load(path, weights_only=True)
    return content.get("state_dict", content)


def test_the_teacher_follows_steps_and_a_run_resumed_inside_one_has_the_same(tmp_path, photographs):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    files = [photographs, "default_hooks.checkpoint.iterations=1", "default_hooks.checkpoint.max_keep=0"]
    run(TEACHER, "--work-dir", str(whole), "--cfg-options", *files)
    run(TEACHER, "--work-dir", str(broken), "--resume", str(whole / "iter_7.pth"), "--cfg-options", *files)
    one, other = weights(whole / "epoch_2.pth"), weights(broken / "epoch_2.pth")
    assert one["teacher.forwards"] == 10
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert logged(broken) == {step: loss for step, loss in logged(whole).items() if step > 7}
    name = "encoder.blocks.0.mlp.fc1.weight"
    expected = weights(whole / "iter_1.pth")[f"teacher.model.{name}"]
    for step in range(1, 5):  # of two batches; the fifth is followed by the next forward pass
        decay = 0.5 + 0.4 * step / 8
        expected = decay * expected + (1 - decay) * weights(whole / f"iter_{2 * step}.pth")[name]
    torch.testing.assert_close(one[f"teacher.model.{name}"], expected)


@pytest.mark.slow
def test_two_processes_have_one_teacher(tmp_path, photographs):
    output = run_processes(TEACHER, "--work-dir", str(tmp_path), "--cfg-options", photographs, "train_cfg.max_epochs=1")
    assert "target_deviation" in output
    one, other = weights(tmp_path / "rank_0.pt"), weights(tmp_path / "rank_1.pt")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_shards_are_refused(tmp_path, photographs):
    options = ["strategy.type=ShardedStrategy", "strategy.shard=[Block]"]
    with pytest.raises(AssertionError, match="EmaTeacher averages whole tensors and does not work on shards"):
        run_processes(TEACHER, "--work-dir", str(tmp_path), "--cfg-options", photographs, *options, processes=1)
