"""FastDiT-3D from files to samples: small config, hooks, evaluation and tools/sample.py, in this process."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from mae3d.datasets.objects.mesh_files import read_ply, write_ply
from mae3d.datasets.simulators.objects import layouts
from mae3d.engine.config import load_config
from mae3d.engine.run import apply_command_line, train
from mae3d.engine.run import test as evaluate
from mae3d.errors import ConfigError, DataError
from tests.engine.runs import ROOT, logged

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
CONFIG = ROOT / "configs" / "fastdit3d" / "fastdit3d_tiny_300_simulated.py"
TINY = {
    "model.embed_dim": 24,
    "model.depth": 1,
    "model.decoder_dim": 24,
    "model.decoder_depth": 1,
    "train_dataloader.batch_size": 4,
    "train_dataloader.dataset.npoints": 64,
    "test_dataloader.dataset.npoints": 64,
    "model.sampling.steps": 3,
    "default_hooks.logger.interval": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "ShapeNetCore.v2.PC15k"
    layouts.write_shapenet15k(root, 16, categories=["car", "chair"], points=10_100)
    return root


def config(root, folder, hooks=None, resume=None, **options):
    roots = {f"{split}_dataloader.dataset.root": str(root) for split in ("train", "test")}
    cfg = load_config(CONFIG, {**TINY, **roots, **options})
    if hooks is not None:
        cfg.custom_hooks = hooks
    cfg.experiment_name = f"generation_{folder.name}_{resume}"
    apply_command_line(cfg, work_dir=str(folder), resume=resume)
    return cfg


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of 4 iterations that hides nothing from the third on, with averaged weights."""
    folder = tmp_path_factory.mktemp("run")
    hooks = [
        {"type": "WholeCloudsHook", "begin": 2},
        {"type": "EMAHook", "ema_type": "ExponentialMovingAverage", "momentum": 0.5},
    ]
    options = {"train_cfg.max_iters": 4, "default_hooks.checkpoint.interval": 2}
    return folder, train(config(data, folder, hooks, **options))


def test_masking_ends_when_it_should(run):
    folder, runner = run
    assert runner.model.token_masking is None
    visible = list(logged(folder, "visible_tokens").values())
    assert max(visible[:2]) < 40
    assert visible[2:] == [64, 64]
    assert len(logged(folder, "expert_share_max")) == 4


def test_files_hold_the_averaged_weights_and_the_raw_ones(run):
    folder, runner = run
    content = torch.load(folder / "iter_4.pth", weights_only=True)
    name = "head.linear.weight"
    raw = runner.model.state_dict()[name]
    stored = {key: content[key] for key in ("state_dict", "ema_state_dict")}
    assert torch.equal(stored["ema_state_dict"]["module." + name], raw)
    assert not torch.equal(stored["state_dict"][name], raw)


def test_a_resumed_run_hides_nothing_either(run, data, tmp_path):
    folder, _ = run
    hooks = [{"type": "WholeCloudsHook", "begin": 2}]
    options = {"train_cfg.max_iters": 5, "default_hooks.checkpoint.interval": 9}
    resumed = train(config(data, tmp_path, hooks, resume=str(folder / "iter_2.pth"), **options))
    assert resumed.iter == 5
    assert resumed.model.token_masking is None


def test_the_time_limit_saves_and_stops(data, tmp_path):
    hooks = [{"type": "TimeLimitHook", "minutes": 1e-4, "interval": 1}]
    options = {"train_cfg.max_iters": 50, "default_hooks.checkpoint.interval": 99}
    runner = train(config(data, tmp_path, hooks, **options))
    assert runner.iter < 50
    assert [path.name for path in tmp_path.glob("iter_*.pth")] == [f"iter_{runner.iter}.pth"]


def test_hooks_refuse_what_they_cannot_do(data, tmp_path):
    cfg = config(data, tmp_path, [{"type": "WholeCloudsHook", "begin": 0}])
    cfg.model = {"type": "DiT3D", "resolution": 16, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 2}
    with pytest.raises(ConfigError, match="DiT3D has no token_masking"):
        train(cfg)
    with pytest.raises(ConfigError, match="minutes must be above 0"):
        train(config(data, tmp_path, [{"type": "TimeLimitHook", "minutes": 0}]))


def test_evaluation_generates_and_compares(run, data, tmp_path):
    cfg = config(data, tmp_path, load_from=str(run[0] / "iter_4.pth"))
    metrics = evaluate(cfg)
    assert {"generation/mmd_cd", "generation/cov_cd", "generation/1nna_cd", "generation/jsd"} <= metrics.keys()
    assert 0 <= metrics["generation/1nna_cd"] <= 1


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("sample_tool", ROOT / "tools" / "sample.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sample_tool"] = module
    spec.loader.exec_module(module)
    return module


def draw(tool, run, data, out, *arguments):
    options = tool.parse([str(CONFIG), str(run[0] / "iter_4.pth"), "-o", str(out), "--points", "64", *arguments])
    return tool.generate(config(data, out), options)


def test_samples_are_written_in_the_units_of_the_files(tool, run, data, tmp_path):
    draw(tool, run, data, tmp_path, "--count", "3", "--batch-size", "2", "--classes", "chair", "none")
    clouds = np.load(tmp_path / "clouds.npy")
    assert clouds.shape == (3, 64, 3)
    assert np.load(tmp_path / "labels.npy").tolist() == [1, 2, 1]
    np.testing.assert_allclose(read_ply(tmp_path / "cloud_0002.ply")[0], clouds[2], rtol=1e-6)
    frames = np.load(tmp_path / "denoising.npy")
    np.testing.assert_allclose(frames[-1, 0], clouds[0], rtol=1e-5, atol=1e-6)
    for name in ("sheet.png", "denoising.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_completion_and_editing_from_files(tool, run, data, tmp_path):
    part = np.random.default_rng(0).normal(0, 0.3, (20, 3)).astype(np.float32)
    write_ply(tmp_path / "part.ply", part)
    draw(tool, run, data, tmp_path / "completed", "--count", "2", "--complete", str(tmp_path / "part.ply"))
    np.testing.assert_allclose(np.load(tmp_path / "completed" / "clouds.npy")[1, :20], part, atol=1e-5)
    np.save(tmp_path / "whole.npy", np.random.default_rng(0).normal(0, 0.3, (100, 3)))
    draw(tool, run, data, tmp_path / "edited", "--count", "1", "--edit", str(tmp_path / "whole.npy"))
    assert np.isfinite(np.load(tmp_path / "edited" / "clouds.npy")).all()
    with pytest.raises(DataError, match="has 20 points and --points is 20: nothing is left to add"):
        draw(tool, run, data, tmp_path, "--complete", str(tmp_path / "part.ply"), "--points", "20")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--classes", "boat"), ConfigError, "--classes boat: expected car, chair or none"),
        (("--count", "0"), ConfigError, "--count and --batch-size must be at least 1"),
        (("--steps", "5000"), ConfigError, "steps must be between 1 and 1000"),
        (("--edit", "nothing.npy"), DataError, "nothing.npy: file is missing"),
    ],
)
def test_wrong_requests(tool, run, data, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        draw(tool, run, data, tmp_path, *arguments)
