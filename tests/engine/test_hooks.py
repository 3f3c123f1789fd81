"""Hooks at work in real runs inside this process."""

import json
import math

import pytest
import torch
from mmengine.config import Config

from mae3d.engine import find_checkpoint, load_from_mae3d
from mae3d.engine.config import load_config
from mae3d.engine.hooks import AccumulationHook, AtomicCheckpointHook, ProbeHook
from mae3d.engine.hooks.record import summarise
from mae3d.engine.run import apply_command_line, build_runner, train
from mae3d.engine.run import test as evaluate
from mae3d.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from mae3d.models.methods import PointMAE
from tests.engine.runs import CONFIG

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def config(folder, resume=None, hooks=(), **options) -> Config:
    cfg = load_config(CONFIG, options)
    cfg.custom_hooks = list(hooks)
    cfg.experiment_name = f"test_{folder.name}_{len(list(folder.parent.iterdir()))}_{resume}"
    apply_command_line(cfg, work_dir=str(folder), resume=resume)
    return cfg


def load(path):
    return torch.load(path, weights_only=True)


def test_checkpoints_are_plain_rotated_and_complete(tmp_path):
    metric = "classification/accuracy"
    options = {
        "train_cfg.max_epochs": 6,
        "default_hooks.checkpoint.keep_every": 3,
        "default_hooks.checkpoint.save_best": metric,
        "default_hooks.checkpoint.best_k": 2,
    }
    record = {"type": "MetricRecordHook", "metric": metric}
    train(config(tmp_path, hooks=[record], **options))
    assert {path.name for path in tmp_path.glob("epoch_*.pth")} == {f"epoch_{n}.pth" for n in (3, 4, 5, 6)}
    assert 1 <= len(list(tmp_path.glob("best_*.pth"))) <= 2
    assert not list(tmp_path.glob(".*.tmp"))

    checkpoint = load(find_checkpoint(tmp_path))
    assert checkpoint["meta"]["epoch"] == 6
    assert checkpoint["meta"]["iter"] == 36
    assert checkpoint["message_hub"]["log_scalars"] == {}
    assert {"state_dict", "optimizer", "param_schedulers", "hooks"} <= checkpoint.keys()
    assert sorted(checkpoint["hooks"]["MetricRecordHook"]["history"]) == [1, 2, 3, 4, 5]

    best = load(next(iter(tmp_path.glob("best_*.pth"))))
    assert "optimizer" not in best
    summary = json.loads((tmp_path / "metrics.json").read_text())
    assert summary["last"]["step"] == 6
    assert summary["best"]["value"] == max(entry[metric] for entry in summary["history"].values())

    start = json.loads((tmp_path / "run.json").read_text())["starts"][0]
    assert start["seed"] == 0
    assert start["versions"]["torch"] == torch.__version__
    assert (tmp_path / "config_small.py").is_file()
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_a_damaged_newest_file_is_passed_over(tmp_path):
    train(config(tmp_path, **{"train_cfg.max_epochs": 2}))
    newest = find_checkpoint(tmp_path)
    newest.write_bytes(newest.read_bytes()[:500])
    assert find_checkpoint(tmp_path).name == "epoch_1.pth"
    with pytest.raises(CheckpointError, match=r"epoch_2\.pth"):
        load_from_mae3d(str(newest))


def test_foreign_pickles_do_not_run(tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"model": {}, "args": ConfigError("an object")}, path)
    with pytest.raises(CheckpointError, match="convert_checkpoint"):
        load_from_mae3d(str(path))
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_from_mae3d(str(tmp_path / "none.pth"))


def test_resume_refuses_another_batch_size_inside_an_epoch(tmp_path):
    train(config(tmp_path, **{"train_cfg.max_epochs": 1, "default_hooks.checkpoint.iterations": 4}))
    inside = str(tmp_path / "iter_4.pth")
    with pytest.raises(CheckpointError, match="lies inside epoch 0"):
        train(config(tmp_path, inside, **{"train_dataloader.batch_size": 8}))
    runner = train(config(tmp_path, str(tmp_path / "epoch_1.pth"), **{"train_dataloader.batch_size": 8}))
    assert runner.iter == 9


@pytest.mark.parametrize(
    "options",
    [
        {"optim_wrapper.accumulative_counts": 3},
        {"optim_wrapper.precision": "bf16"},
        {"train_dataloader.num_workers": 0},
    ],
    ids=["inside an accumulation", "bf16", "averaged weights"],
)
def test_resume_is_exact(tmp_path, options):
    hooks = [{"type": "EMAHook", "momentum": 0.1}] if "train_dataloader.num_workers" in options else []
    options = {**options, "default_hooks.checkpoint.iterations": 7, "default_hooks.checkpoint.max_keep": 0}
    first, second = tmp_path / "first", tmp_path / "second"
    train(config(first, hooks=hooks, **options))
    train(config(second, str(first / "iter_7.pth"), hooks=hooks, **options))
    one, two = load(first / "epoch_3.pth"), load(second / "epoch_3.pth")
    for part in ("state_dict", *(("ema_state_dict",) if hooks else ())):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part]), part
    if "optim_wrapper.accumulative_counts" in options:
        assert load(first / "iter_7.pth")["gradients"]


def test_nan_names_loss_and_samples(tmp_path):
    with pytest.raises(NonFiniteLossError) as caught:
        train(config(tmp_path, **{"train_dataloader.dataset.poison": 5}))
    message = str(caught.value)
    assert "loss_class = nan" in message
    assert "loss_mean = nan" in message
    assert "clouds/0005.npy" in message
    report = json.loads(next(iter(tmp_path.glob("nonfinite_iter_*.json"))).read_text())
    assert 5 in report["indices"]
    assert f"at iteration {report['iteration']}" in message
    assert len(report["samples"]) == 4


def test_no_batch_at_all(tmp_path):
    with pytest.raises(DataError, match="gives no batch: 24 samples with batch size 100"):
        train(config(tmp_path, **{"train_dataloader.batch_size": 100}))


def test_log_holds_throughput_and_bounded_history(tmp_path):
    hook = {"default_hooks.history.interval": 5, "default_hooks.history.keep": 3}
    runner = train(config(tmp_path, **hook))
    lines = [json.loads(line) for line in next(iter(tmp_path.rglob("scalars.json"))).read_text().splitlines()]
    line = next(entry for entry in lines if entry.get("iter") == 8)
    assert line["tokens_per_second"] == pytest.approx(32 * line["samples_per_second"])
    assert line["peak_memory_mb"] > 50
    assert 0 <= runner.message_hub.get_info("eta") < 60
    assert all(len(buffer.data[0]) <= 6 for name, buffer in runner.message_hub.log_scalars.items() if "train" in name)


def test_probe_and_pictures_of_point_mae(tmp_path):
    loader = {"sampler": {"type": "EpochSampler", "shuffle": False}, "batch_size": 8, "num_workers": 0}
    data = {"type": "tests.engine.small_model.Clouds", "size": 18, "points": 64}
    probe = {
        "type": "ProbeHook",
        "interval": 1,
        "kind": "knn",
        "train_dataloader": {**loader, "dataset": data},
        "test_dataloader": {**loader, "dataset": {**data, "size": 12}},
    }
    cfg = config(tmp_path, hooks=[probe, {"type": "ReconstructionHook", "interval": 1, "samples": 2}])
    cfg.model = {"type": "point_mae_test"}
    cfg.train_dataloader.dataset.points = 64
    cfg.train_cfg.max_epochs = 1
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    runner = train(cfg)
    assert isinstance(runner.model, PointMAE)
    history = next(hook.history for hook in runner.hooks if isinstance(hook, ProbeHook))
    assert history.keys() == {0, 1}
    assert all(1 / 4 < accuracy <= 1 for accuracy in history.values())
    assert {path.name for path in (tmp_path / "pictures").glob("*.png")} == {
        "reconstruction_000000.png",
        "reconstruction_000001.png",
    }


def test_compiled_model_keeps_its_names(tmp_path):
    hook = {"type": "CompileHook", "targets": ["norm"], "options": {"backend": "eager"}}
    runner = train(config(tmp_path, hooks=[hook], **{"train_cfg.max_epochs": 1}))
    assert not [name for name in runner.model.state_dict() if "_orig_mod" in name]
    with pytest.raises(ConfigError, match="no 'encoder'"):
        train(config(tmp_path, hooks=[{"type": "CompileHook", "targets": ["encoder"]}]))


def test_evaluation_repeats_the_last_validation_and_refuses_half_files(tmp_path):
    train(config(tmp_path, **{"train_cfg.max_epochs": 1}, hooks=[{"type": "MetricRecordHook"}]))
    recorded = json.loads((tmp_path / "metrics.json").read_text())["last"]["value"]
    cfg = config(tmp_path)
    cfg.load_from = str(tmp_path / "epoch_1.pth")
    assert evaluate(cfg)["classification/accuracy"] == recorded
    half = tmp_path / "half.pth"
    torch.save({"state_dict": {"head.weight": torch.zeros(3, 16)}}, half)
    cfg = config(tmp_path)
    cfg.load_from = str(half)
    with pytest.raises(CheckpointError, match=r"lacks 10 tensors of SmallAutoencoder: blocks.0.bias"):
        evaluate(cfg)


def test_two_numbers_are_reported():
    history = {1: {"accuracy": 0.5}, 2: {"accuracy": 0.8}, 3: {"accuracy": 0.7}}
    summary = summarise(history)
    assert (summary["best"]["step"], summary["last"]["step"]) == (2, 3)
    assert "best 0.8000 at 2 (selected on test, as published)" in summary["text"]
    assert "last 0.7000 at 3 (honest" in summary["text"]
    assert summarise(history, rule="less")["best"]["step"] == 1
    with pytest.raises(ConfigError, match="no metric 'miou'"):
        summarise(history, "miou")


def test_default_hooks_are_there(tmp_path):
    runner = build_runner(config(tmp_path))
    kinds = {type(hook) for hook in runner.hooks}
    assert {AtomicCheckpointHook, AccumulationHook} <= kinds
    assert math.isfinite(runner.seed)
