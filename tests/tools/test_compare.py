"""tools/compare.py: what runs and what does not, what the tables say, and that a second call makes nothing anew."""

import importlib
import json
import re
import sys
from types import SimpleNamespace

import pytest

from mae3d.engine import find_checkpoint
from mae3d.engine.config import load_config
from mae3d.errors import ConfigError
from mae3d.registry import MODELS
from tests.engine.runs import ROOT, logged
from tests.tools.finished import finish

CONFIGS = ROOT / "tests" / "tools" / "comparison"


@pytest.fixture(scope="module")
def tools():
    sys.path.insert(0, str(ROOT / "tools"))
    found = {name: importlib.import_module(name) for name in ("compare", "comparison_page", "objectives")}
    sys.path.remove(str(ROOT / "tools"))
    return SimpleNamespace(**found)


def configs(*names):
    return [str(CONFIGS / f"{name}.py") for name in names]


def test_what_has_no_data_is_simulated_or_left_out(tools, tmp_path):
    paths = sorted(CONFIGS.glob("*.py"))
    found = {own.name: own for own in tools.objectives.find_objectives(paths, tmp_path, tmp_path / "made")}
    assert sorted(found) == ["blocks", "cubes-simulated", "points", "words"]
    assert found["words"].missing == f"no data: {tmp_path / 'words' / 'clouds.npz'}"
    assert not any(own.missing for own in found.values() if own.name != "words")
    assert found["points"].about == "Points: a small objective on clouds made in memory."
    (tmp_path / "made" / "words").mkdir(parents=True)
    (tmp_path / "made" / "words" / "clouds.npz").touch()
    (tmp_path / "cubes").mkdir()
    (tmp_path / "cubes" / "clouds.npz").touch()
    found = {own.name: own for own in tools.objectives.find_objectives(paths, tmp_path, tmp_path / "made")}
    assert sorted(found) == ["blocks", "cubes", "points", "words"]
    assert found["words"].options == {"train_dataloader.dataset.path": tmp_path / "made" / "words" / "clouds.npz"}
    assert found["cubes"].options == {"train_dataloader.dataset.path": tmp_path / "cubes" / "clouds.npz"}
    alone = tools.objectives.find_objectives([CONFIGS / "cubes_tiny-simulated.py"], tmp_path, tmp_path)
    assert [own.name for own in alone] == ["cubes-simulated"]


def test_the_comparison_configs_share_one_backbone(tools):
    objectives = tools.objectives.find_objectives(
        sorted((ROOT / "configs" / "compare").glob("*.py")), ROOT / "none", ROOT / "none"
    )
    assert len(objectives) >= 4
    assert {own.backbone().size for own in objectives} == {(4, 128, 4)}
    assert all(own.missing.startswith("no data") or own.name.endswith("-simulated") for own in objectives)


@pytest.mark.shared_data
def test_sentences_and_their_vocabulary_are_made_of_the_table(tools, shared_data, tmp_path):
    pytest.importorskip("tokenizers", reason="text needs the extra mae3d[text]")
    tools.objectives.prepare(shared_data, tmp_path)
    words = (tmp_path / "sts" / "vocab.txt").read_text().split()
    assert len(words) == len(set(words)) == 2000
    (text,) = tools.objectives.find_objectives([ROOT / "configs" / "compare" / "text_tiny.py"], shared_data, tmp_path)
    assert text.missing == ""
    assert text.options["train_dataloader.dataset.vocabulary"] == tmp_path / "sts" / "vocab.txt"


def test_backbones_that_do_not_fit_are_told(tools, tmp_path):
    def compare(*arguments):
        arguments = [*arguments, "--data", str(tmp_path), "--output", str(tmp_path / "out")]
        return tools.compare.Comparison(tools.compare.parse(arguments))

    with pytest.raises(ConfigError, match=r"shares one backbone; .* 'images': \(4, 128, 4\)"):
        compare(*configs("points_tiny"), str(ROOT / "configs" / "compare" / "images_tiny.py"))
    with pytest.raises(ConfigError, match="--init-from words: no objective of that name runs; there are points"):
        compare(*configs("points_tiny", "words_tiny"), "--init-from", "words")
    comparison = compare(*configs("points_tiny", "cubes_tiny", "blocks_tiny"), "--init-from", "points")
    (cubes, blocks) = comparison.transfers
    assert (blocks.name, blocks.missing) == ("blocks from points", "")
    pre, post = (
        tools.objectives.find_objectives([ROOT / "configs" / "compare" / f"{name}_tiny.py"], tmp_path, tmp_path)[0]
        for name in ("images", "images-data2vec2")
    )
    assert post.backbone().shapes == pre.backbone().shapes
    assert post.backbone().difference(pre.backbone()) == "norms are post and pre"
    assert cubes.missing == "blocks do not fit: the blocks' tensors differ: 0.attn.qkv.bias, 1.attn.qkv.bias"


def test_a_comparison_from_configs_to_the_page(tools, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the configs name a data set of the tests
    arguments = [*configs("points_tiny", "blocks_tiny", "words_tiny"), "--data", str(tmp_path), "--steps", "3"]
    arguments += ["--output", str(tmp_path / "out"), "--init-from", "points"]
    assert tools.compare.Comparison(tools.compare.parse(arguments)).run() == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["points", "blocks", "words", "blocks from points"]
    assert not rows["words"]["runs"]
    assert rows["blocks from points"]["init_from"] == "points"
    assert results["settings"]["backbone"] == {"blocks": 2, "width": 32, "heads": 2}

    for name, groups in (("points", 16), ("blocks from points", 16)):
        (run,) = rows[name]["runs"]
        folder = tmp_path / "out" / "runs" / name.replace(" ", "_") / "seed_0"
        assert dict(map(tuple, run["loss"])) == logged(folder)
        assert len(run["loss"]) == 3
        assert run["cost"]["tokens"] == groups * 4 * 2  # two timed steps of four clouds
        cfg = load_config(CONFIGS / rows[name]["config"])
        model = MODELS.build({**cfg.model, "data_preprocessor": None})
        assert sum(run["cost"]["parameters"].values()) == sum(p.numel() for p in model.parameters())
    log = next((tmp_path / "out" / "runs" / "blocks_from_points" / "seed_0").glob("*/*.log")).read_text()
    checkpoint = find_checkpoint(tmp_path / "out" / "runs" / "points" / "seed_0")
    assert f"{checkpoint}: {2 * 11} tensors of encoder.blocks loaded" in log

    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img") == 3
    assert "no data: " in page
    loss = rows["points"]["runs"][0]["loss"]
    assert f"<td>{loss[0][1]:.3g}</td><td>{loss[-1][1]:.3g}</td><td>{loss[-1][1] / loss[0][1]:.2f}</td>" in page

    capsys.readouterr()
    made = checkpoint.stat().st_mtime_ns
    assert tools.compare.Comparison(tools.compare.parse(arguments)).run() == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"\[\d/\d\] .*: reused", said)) == 4  # both objectives, then the source and what it starts
    assert checkpoint.stat().st_mtime_ns == made


def test_a_run_too_short_for_a_loss_has_no_numbers(tools, tmp_path):
    arguments = [
        *configs("points_tiny"),
        "--minutes",
        "0.001",
        "--data",
        str(tmp_path),
        "--output",
        str(tmp_path / "out"),
    ]
    comparison = tools.compare.Comparison(tools.compare.parse(arguments))
    (run,) = comparison.runs(comparison.objectives[0])
    finish(run, {})
    (run.work_dir / "cost.json").write_text("{}")
    (made,) = comparison.write()["rows"]
    assert made["runs"] == []
    assert made["missing"] == "ended before a loss was logged; allow more --minutes"


def test_what_is_named_twice_runs_once(tools, capsys):
    args = tools.compare.parse(["a.py", "--seeds", "1", "0", "1", "--init-from", "a", "a"])
    assert (args.seeds, args.init_from) == ([1, 0], ["a"])
    with pytest.raises(SystemExit):
        tools.compare.parse(["a.py", "--jobs", "0"])
    assert "--jobs must be at least 1" in capsys.readouterr().err


def row(name, runs, **more):
    return {"name": name, "about": "", "config": f"{name}.py", "missing": "", "init_from": None, "runs": runs, **more}


def test_tables_hold_means_deviations_and_rates(tools):
    cost = {"steps": 12, "timed_steps": 9.0, "seconds": 4.5, "step_seconds": 3.6}  # started three times
    cost |= {"samples": 72.0, "tokens": 1440.0, "encoded": 576.0}
    cost |= {"cpu_seconds": 1.8, "memory_mb": 12.4, "flops_per_step": 2_000_000_000}
    cost["parameters"] = {"backbone": 1000, "rest": 2500}
    first = {"seed": 0, "loss": [[5, 2.0], [10, 1.0]], "probes": {"knn": [0.25, 0.5]}, "cost": cost}
    second = {"seed": 1, "loss": [[5, 4.0], [10, 1.0]], "probes": {"knn": [0.35, 0.7]}, "cost": cost}
    rows = [row("images", [first, second]), row("words", [], missing="no data: words"), row("later", [])]
    results = {"rows": rows}
    page = tools.comparison_page
    head, images, words, later = page.result_table(results)
    assert images == ["images", "3 ± 1.41", "1 ± 0", "0.38 ± 0.18", "knn", "30.0 ± 7.1", "60.0 ± 14.1", ""]
    assert (words[0], words[-1], later[-1]) == ("words", "no data: words", "not finished")
    assert len({len(line) for line in (head, images, words, later)}) == 1
    head, line = page.cost_table(results)
    assert dict(zip(head, line)) == {
        "objective": "images",
        "steps": "12",
        "samples / s": "16.0",
        "tokens / s": "320",
        "tokens / sample": "20",
        "through the backbone": "8",
        "CPU s / step": "0.200",
        "loading": "20%",
        "memory MB": "12",
    }
    assert page.size_table(results)[1] == ["images", "1,000", "2,500", "2.00", "250", "5.0"]
    assert page.curve(rows[0], relative=True) == [(5.0, 1.0), (10.0, (0.5 + 0.25) / 2)]
    assert page.curve(rows[0], by_time=True) == [(2.5, 3.0), (5.0, 1.0)]
