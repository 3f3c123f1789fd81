"""What a run costs, against closed forms; probes of a run that the clock ends."""

import json

import pytest
import torch

from mae3d.engine.config import load_config
from mae3d.engine.flops import flop_counter
from mae3d.engine.hooks import ProbeHook
from mae3d.engine.run import apply_command_line, train
from mae3d.errors import ConfigError
from mae3d.models.layers import Block
from mae3d.ops import indexed_linear
from tests.engine.runs import CONFIG

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_operations_of_a_block():
    block, x = Block(32, 2), torch.randn(3, 10, 32, requires_grad=True)
    with flop_counter() as counter:
        block(x).sum().backward()
    linear = 2 * 10 * 12 * 32**2  # projections of 3 + 1 widths, an MLP of 4 + 4
    similarity = 2 * 10 * 10 * 32  # one product of all tokens with all tokens
    # Backward: twice the linear layers; four products of attention and the similarities again.
    assert counter.get_total_flops() == 3 * (3 * linear + (2 + 5) * similarity)


def test_operations_of_indexed_products():
    features, weight = torch.randn(20, 6, requires_grad=True), torch.randn(4, 6, 8, requires_grad=True)
    index, group = torch.arange(20) % 4, torch.arange(20) // 5
    with flop_counter() as counter:
        indexed_linear(features, weight, index, group, 4).sum().backward()
    assert counter.get_total_flops() == 3 * (2 * 20 * 6 * 8)


def config(folder, hooks, **options):
    cfg = load_config(CONFIG.with_name("config_small_iterations.py"), options)
    cfg.custom_hooks = hooks
    cfg.model = {"type": "point_mae_test"}
    cfg.train_dataloader.dataset.points = 64
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.experiment_name = f"cost_{folder.name}_{len(options)}_{len(hooks)}"
    apply_command_line(cfg, work_dir=str(folder), resume="auto")
    return cfg


def test_a_run_is_measured_also_across_a_restart(tmp_path):
    for steps in (4, 9):
        options = {"train_cfg.max_iters": steps, "default_hooks.cost.type": "CostHook"}
        runner = train(config(tmp_path, [], **options))
    cost = json.loads((tmp_path / "cost.json").read_text())
    parameters = {name: p.numel() for name, p in runner.model.named_parameters() if p.requires_grad}
    backbone = sum(size for name, size in parameters.items() if name.startswith("encoder.blocks."))
    assert cost["parameters"] == {"backbone": backbone, "rest": sum(parameters.values()) - backbone}
    assert cost["steps"] == 9
    assert cost["timed_steps"] == 9 - 2  # the first of each process is in no time
    assert cost["samples"] == 4 * 7
    assert cost["tokens"] == 16 * 4 * 7
    assert cost["encoded"] == (16 - int(0.6 * 16)) * 4 * 7
    assert 0 < cost["step_seconds"] < cost["seconds"]
    assert cost["cpu_seconds"] > 0
    with flop_counter() as counter:
        runner.model.train()
        batch = next(iter(runner.train_dataloader))
        runner.model(batch["points"], mode="loss")["loss"].backward()
    assert cost["flops_per_step"] == counter.get_total_flops() > 0
    with pytest.raises(ConfigError, match=r"PointMAE has no part 'body' with blocks; parts that have some: \['encoder"):
        train(config(tmp_path / "other", [], **options, **{"default_hooks.cost.backbone": "body"}))


def test_a_run_that_the_clock_ends_is_probed_at_its_end(tmp_path):
    loader = {"sampler": {"type": "EpochSampler", "shuffle": False}, "batch_size": 8, "num_workers": 0}
    loader["dataset"] = {"type": "tests.engine.small_model.Clouds", "size": 12, "points": 64}
    probe = {"type": "ProbeHook", "interval": 100, "kind": "knn", "train_dataloader": loader, "test_dataloader": loader}
    limit = {"type": "TimeLimitHook", "minutes": 1e-9, "interval": 3}
    runner = train(config(tmp_path, [probe, limit]))
    history = next(hook.history for hook in runner.hooks if isinstance(hook, ProbeHook))
    assert list(history) == [0, 3]
