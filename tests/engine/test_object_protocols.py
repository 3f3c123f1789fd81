"""The downstream protocols of the object-point family, from official files to their figures, with the real runner."""

import json

import numpy as np
import pytest
import torch

from mae3d.checkpoints import save_safetensors
from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.objects import ModelNet40HDF5
from mae3d.datasets.simulators.objects import layouts
from mae3d.engine.config import load_config
from mae3d.engine.folds import run_folds, summarise_folds
from mae3d.engine.run import apply_command_line, train
from mae3d.engine.run import test as evaluate
from mae3d.errors import ConfigError
from mae3d.evaluation import LinearSVM
from mae3d.models.heads import PointMAEClassifier
from mae3d.models.methods import PointMAE
from tests.engine.runs import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
CONFIGS = ROOT / "configs" / "point_mae"
TINY = {"num_groups": 8, "group_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
SMALL_MODEL = {f"model.{name}": value for name, value in TINY.items()}
NO_WORKERS = {
    f"{split}_dataloader.{name}": value
    for split in ("train", "val", "test")
    for name, value in (("num_workers", 0), ("persistent_workers", False), ("pin_memory", False))
}


def sampled(points):
    """Furthest-point sampling of the config, to a size that no published pool exists for."""
    kinds = {
        "train_transforms.0.npoints": points,
        "train_transforms.0.pool": points,
        "test_transforms.0.npoints": points,
    }
    return {f"data_preprocessor.{name}": value for name, value in kinds.items()}


def configure(name, folder, options):
    cfg = load_config(CONFIGS / name, options)
    cfg.experiment_name = f"{folder.parent.name}_{folder.name}"
    apply_command_line(cfg, work_dir=str(folder))
    return cfg


@pytest.fixture(scope="module")
def modelnet(tmp_path_factory):
    """Thirty clouds in both layouts of ModelNet40."""
    root = tmp_path_factory.mktemp("data")
    layouts.write_modelnet40(root / "text", 30, points=128)
    layouts.write_modelnet40_hdf5(root / "hdf5", 40, points=64)
    return root


def test_voting_prints_the_published_and_the_expected_figure(modelnet, tmp_path):
    torch.manual_seed(0)
    save_safetensors(PointMAEClassifier(40, **TINY).state_dict(), tmp_path / "model.safetensors")
    options = {**SMALL_MODEL, "model.voting.repeats": 3, "model.voting.times": 2}
    options |= {"model.voting.plain.0.npoints": 32, "model.voting.pool.0.npoints": 48}
    options |= {"model.voting.views.0.npoints": 32, "test_dataloader.dataset.root": str(modelnet / "text")}
    options |= {name: value for name, value in NO_WORKERS.items() if name.startswith("test")}
    cfg = configure("point-mae_small_voting_modelnet40-1k.py", tmp_path, options)
    cfg.load_from = str(tmp_path / "model.safetensors")
    metrics = evaluate(cfg)
    assert set(metrics) == {f"voting/{name}" for name in ("accuracy", "vote_mean", "vote_std", "vote_best")}
    assert metrics["voting/vote_mean"] <= metrics["voting/vote_best"] <= 1
    with pytest.raises(ConfigError, match=r"has no train_dataloader and train_cfg; evaluate with it: tools/test\.py"):
        train(cfg)


def test_svm_of_a_checkpoint_is_the_svm_of_its_features(modelnet, tmp_path):
    torch.manual_seed(0)
    model = PointMAE(**TINY, decoder_depth=1, decoder_num_heads=2)
    save_safetensors(model.state_dict(), tmp_path / "model.safetensors")
    root = str(modelnet / "hdf5")
    options = {**SMALL_MODEL, "model.decoder_depth": 1, "model.decoder_num_heads": 2}
    for place in ("test_dataloader", "test_cfg.train_dataloader"):
        options |= {f"{place}.num_workers": 0, f"{place}.dataset.root": root, f"{place}.dataset.npoints": 64}
    cfg = configure("point-mae_small_svm_modelnet40.py", tmp_path, options)
    cfg.load_from = str(tmp_path / "model.safetensors")

    machine = LinearSVM("i2p_mae")
    for split in ("train", "test"):
        data = ModelNet40HDF5(root, split, npoints=64)
        points = torch.stack([data[row]["points"] for row in range(len(data))])
        labels = torch.tensor([int(data[row]["label"]) for row in range(len(data))])
        machine.process(model.extract_features(points, "max"), labels, train=split == "train")
    assert evaluate(cfg) == {"svm/accuracy": machine.compute()["accuracy"]}


def write_folds(root, folds):
    generator = np.random.default_rng(0)

    def cloud(label):
        points = generator.normal(size=(64, 6)).astype(np.float32)
        points[:, label] *= 0.05
        return points, label, 7 + label

    for fold in range(folds):
        episode = {"train": [cloud(row % 2) for row in range(4)], "test": [cloud(row % 2) for row in range(40)]}
        save_array_pickle(episode, root / "2way_2shot" / f"{fold}.pkl")


def test_folds_are_run_once_and_summed_up(tmp_path):
    write_folds(tmp_path / "folds", 2)
    options = {**SMALL_MODEL, **NO_WORKERS, **sampled(32), "train_cfg.max_epochs": 1, "model.init_cfg": None}
    options |= {"train_dataloader.batch_size": 4}
    for split in ("train", "val", "test"):
        options |= {f"{split}_dataloader.dataset.{name}": 2 for name in ("way", "shot")}
        options |= {f"{split}_dataloader.dataset.root": str(tmp_path / "folds")}
    config = CONFIGS / "point-mae_small_150e_modelnet40-5way10shot.py"

    records = run_folds(config, [0, 1], tmp_path / "runs", options)
    last = [records[fold]["last"]["value"] for fold in (0, 1)]
    assert [records[fold]["last"]["step"] for fold in (0, 1)] == [2, 2]  # one epoch more than the schedule
    text = summarise_folds(records)
    assert "2 folds, classification/accuracy in percent" in text
    assert f"last: {100 * np.mean(last):.1f} +- {100 * np.std(last):.1f} (last epoch, nothing selected)" in text
    assert "selected on test as published" in text
    logs = sorted((tmp_path / "runs").rglob("scalars.json"))
    assert run_folds(config, [0, 1], tmp_path / "runs", options) == records
    assert sorted((tmp_path / "runs").rglob("scalars.json")) == logs  # nothing ran again

    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset has no fold"):
        run_folds(CONFIGS / "point-mae_small_300e_modelnet40-1k.py", [0], tmp_path / "other")


def test_epoch_chosen_on_held_out_training_clouds(modelnet, tmp_path):
    root = str(modelnet / "text")
    options = {**SMALL_MODEL, **NO_WORKERS, **sampled(32), "train_cfg.max_epochs": 1, "model.init_cfg": None}
    options |= {f"{split}_dataloader.dataset.dataset.root": root for split in ("train", "val")}
    options |= {"test_dataloader.dataset.root": root, "train_dataloader.batch_size": 8}
    cfg = configure("point-mae_small-validated_300e_modelnet40-1k.py", tmp_path, options)
    runner = train(cfg)
    training, validation = runner.train_dataloader.dataset, runner.val_dataloader.dataset
    assert len(validation) == 3
    assert sorted([*training.rows, *validation.rows]) == list(range(len(training) + 3))
    text = json.loads((tmp_path / "metrics.json").read_text())["text"]
    assert "(selected on validation)" in text
