"""A killed run continues with the very same numbers."""

import signal
import time

import pytest
import torch

from tests.engine.runs import CONFIG, logged, run, start

ITERATIONS = ["default_hooks.checkpoint.iterations=4"]
WORKERS = ["train_dataloader.num_workers=2"]


def kill_after(iteration, *arguments):
    """Start a run and kill -9 it right after an iteration."""
    process = start(*arguments, f"custom_hooks.0.after={iteration}")
    marker = time.monotonic()
    for line in process.stdout:
        assert time.monotonic() - marker < 120
        if "pausing" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    process.wait(30)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run(str(CONFIG), "--work-dir", str(folder), "--cfg-options", *ITERATIONS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("options", [ITERATIONS, ITERATIONS + WORKERS], ids=["no workers", "two workers"])
def test_killed_in_the_middle_of_an_epoch(tmp_path, whole, options):
    kill_after(10, str(CONFIG), "--work-dir", str(tmp_path), "--cfg-options", *options)
    output = run(str(CONFIG), "--work-dir", str(tmp_path), "--resume", "auto", "--cfg-options", *options)
    assert "iter: 8" in output
    assert logged(tmp_path) == logged(whole)
    assert logged(tmp_path, "lr") == logged(whole, "lr")
    assert same_weights(whole / "epoch_3.pth", tmp_path / "epoch_3.pth")


@pytest.mark.slow
def test_killed_iteration_loop(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    config = str(CONFIG.with_name("config_small_iterations.py"))
    run(config, "--work-dir", str(whole))
    kill_after(10, config, "--work-dir", str(broken), "--cfg-options")
    run(config, "--work-dir", str(broken), "--resume", "auto")
    assert len(logged(whole)) == 18
    assert logged(broken) == logged(whole)
    assert same_weights(whole / "iter_18.pth", broken / "iter_18.pth")


def same_weights(one, other):
    one, other = (torch.load(path, weights_only=True)["state_dict"] for path in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
