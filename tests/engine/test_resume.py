"""A killed run continues with the very same numbers."""

import os
import signal

import pytest
import torch

from tests.engine.runs import CONFIG, logged, run, start

ITERATIONS = ["default_hooks.checkpoint.iterations=4"]
WORKERS = ["train_dataloader.num_workers=2"]


def stop_after(iteration, how, *arguments):
    """Start a run, send it a signal right after an iteration, and return its exit status and last words."""
    running = start(*arguments, f"custom_hooks.0.after={iteration}")
    for line in running.stdout:
        if "pausing" in line:
            os.kill(running.process.pid, how)
            break
    return running.finish()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run(str(CONFIG), "--work-dir", str(folder), "--cfg-options", *ITERATIONS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("options", [ITERATIONS, ITERATIONS + WORKERS], ids=["no workers", "two workers"])
def test_killed_in_the_middle_of_an_epoch(tmp_path, whole, options):
    status, _ = stop_after(10, signal.SIGKILL, str(CONFIG), "--work-dir", str(tmp_path), "--cfg-options", *options)
    assert status == -signal.SIGKILL
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
    stop_after(10, signal.SIGKILL, config, "--work-dir", str(broken), "--cfg-options")
    run(config, "--work-dir", str(broken), "--resume", "auto")
    assert len(logged(whole)) == 18
    assert logged(broken) == logged(whole)
    assert same_weights(whole / "iter_18.pth", broken / "iter_18.pth")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(tmp_path, whole, how):
    options = ["--work-dir", str(tmp_path), "--cfg-options", *WORKERS]
    status, output = stop_after(9, how, str(CONFIG), *options, "custom_hooks.0.seconds=1")
    assert status == 128 + how
    assert f"{how.name} received: stopped after iteration 10" in output
    assert "resume with --resume auto" in output
    assert "Traceback" not in output
    assert (tmp_path / "iter_10.pth").is_file()
    if how == signal.SIGTERM:
        run(str(CONFIG), "--resume", *options)
        assert logged(tmp_path) == logged(whole)


def same_weights(one, other):
    one, other = (torch.load(path, weights_only=True)["state_dict"] for path in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
