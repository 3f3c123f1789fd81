"""Every config parses, holds only known keys, builds, and survives a dump; misspelt keys are found."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mae3d.engine.config import load_config, validate
from mae3d.engine.run import apply_command_line
from mae3d.errors import ConfigError
from mae3d.registry import HOOKS, MODELS
from tests.engine.runs import CONFIG, ROOT

APART = {"_base_", "mmdet3d"}  # the latter are for mmdet3d's tools: tests/integrations/
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.py") if not APART & set(path.parts))
POINT_MAE = ROOT / "configs" / "point_mae"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config(path, tmp_path):
    cfg = load_config(path)
    first = path.read_text().splitlines()[0]
    name = path.relative_to(ROOT)
    trains = cfg.get("train_dataloader") is not None
    assert first == (f"# python tools/train.py {name}" if trains else f"# python tools/test.py {name} CHECKPOINT")

    DefaultScope.get_instance("configs", scope_name="mae3d")
    with torch.device("meta"):
        model = MODELS.build({**cfg.model, "data_preprocessor": cfg.get("data_preprocessor")})
    assert any(parameter.requires_grad for parameter in model.parameters())
    for hook in cfg.default_hooks.values():
        HOOKS.build({key: value for key, value in hook.items() if key != "priority"})

    dumped = tmp_path / path.name
    cfg.dump(dumped)
    again = Config.fromfile(dumped)
    validate(again)
    assert again.pretty_text == cfg.pretty_text


def test_the_published_recipe():
    cfg = load_config(POINT_MAE / "point-mae_small_300e_shapenet55.py")
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == 29_006_432
    assert cfg.train_cfg.max_epochs == 300
    assert cfg.train_cfg.extra_epoch
    assert cfg.param_scheduler[0].delayed
    assert cfg.train_dataloader.batch_size == 128
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert "clip_grad" not in cfg.optim_wrapper


def test_fine_tuning_recipe():
    cfg = load_config(POINT_MAE / "point-mae_small_300e_modelnet40-1k.py")
    assert cfg.optim_wrapper.optimizer.lr == 5e-4
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 10
    assert cfg.train_dataloader.batch_size == 32
    few = load_config(POINT_MAE / "point-mae_small_150e_modelnet40-10way20shot.py")
    assert (few.train_cfg.max_epochs, few.val_dataloader.dataset.way, few.test_dataloader.dataset.shot) == (150, 10, 20)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("modle.width", r'modle: unknown key; did you mean "model"\?'),
        ("model.widht", r'model.widht: unknown key; did you mean "width"\?'),
        ("train_dataloader.batchsize", r'train_dataloader.batchsize: unknown key; did you mean "batch_size"\?'),
        ("train_dataloader.dataset.sizes", r'train_dataloader.dataset.sizes: unknown key; did you mean "size"\?'),
        ("optim_wrapper.clip_gard", r'optim_wrapper.clip_gard: unknown key; did you mean "clip_grad"\?'),
        ("optim_wrapper.optimizer.weight_deacy", r'did you mean "weight_decay"\?'),
        ("param_scheduler.0.warm_up", r'param_scheduler.0.warm_up: unknown key; did you mean "warmup"\?'),
        ("default_hooks.checkpoint.max_keeps", r'did you mean "max_keep"\?'),
        ("default_hooks.logger.intervall", r'did you mean "interval"\?'),
        ("randomness.seeds", r'randomness.seeds: unknown key; did you mean "seed"\?'),
        ("env_cfg.cudnn_bench", r'did you mean "cudnn_benchmark"\?'),
        ("log_processor.windowsize", r'did you mean "window_size"\?'),
    ],
)
def test_misspelt_keys_are_found(key, message):
    with pytest.raises(ConfigError, match=message):
        load_config(CONFIG, {key: 1})


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [
        ("point_mae_test", "embed_dmi", "embed_dim"),
        ("gd_mae_two_stage", "freeze_frist", "freeze_first"),
        ("gd_mae_two_stage", "vfe_chanels", "vfe_channels"),
        ("t_mae_centerpoint", "pilar", "pillar"),
        ("MAEClassifier", "image_szie", "image_size"),
        ("VideoMAEClassifier", "tublet", "tubelet"),
    ],
)
def test_keys_of_models_are_checked_too(kind, key, meant):
    with pytest.raises(ConfigError, match=f'did you mean "{meant}"'):
        validate(Config({"model": {"type": kind, key: 32}}))


def test_unknown_type_and_file():
    with pytest.raises(ConfigError, match=r'model.type: no class is registered as .PointMEA.; did you mean "PointMAE"'):
        validate(Config({"model": {"type": "PointMEA"}}))
    with pytest.raises(ConfigError, match="no config at"):
        load_config(CONFIG.with_name("nothing.py"))


def test_a_call_in_a_config_is_explained(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("from torch.optim import AdamW\nmodel = AdamW(1)\nfrom mae3d.engine.loops import EpochLoop\n")
    with pytest.raises(ConfigError, match="cannot be read as a config"):
        load_config(path)


def test_command_line_enters_the_config(tmp_path):
    cfg = load_config(CONFIG)
    apply_command_line(cfg, work_dir=str(tmp_path), amp="bf16", compile=True, seed=7, resume="auto")
    assert cfg.optim_wrapper.precision == "bf16"
    assert cfg.randomness.seed == 7
    assert cfg.custom_hooks[-1]["type"] == "CompileHook"
    assert not cfg.resume  # the folder is empty
    with pytest.raises(ConfigError, match="no such file"):
        apply_command_line(cfg, resume=str(tmp_path / "none.pth"))
    with pytest.raises(ConfigError, match="gradient_checkpointing"):
        apply_command_line(load_config(CONFIG), gradient_checkpointing=True)
    assert Path(cfg.work_dir) == tmp_path
