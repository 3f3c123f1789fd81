"""The probe of sentence similarity, in a run of one step, against pairs taken one at a time."""

import random

import pytest
import torch

from mae3d.datasets.text.prepare import prepare_sts
from mae3d.engine.config import load_config
from mae3d.engine.hooks import SimilarityProbeHook
from mae3d.engine.run import apply_command_line, train
from tests.engine.runs import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "bird",
    "man",
    "child",
    "runs",
    "sleeps",
    "plays",
    "in",
    "under",
    "red",
    "tree",
    "water",
]


def test_correlation_of_cosines_and_scores(tmp_path):
    pytest.importorskip("tokenizers", reason="text needs the extra mae3d[text]")
    draw = random.Random(0)
    sentences = [[" ".join(draw.choices(WORDS, k=draw.randint(2, 9))) for _ in range(2)] for _ in range(40)]
    scores = [number / 10 for number in range(40)]  # no two alike
    table = tmp_path / "pairs.csv"
    table.write_text("".join(f"{first},{second},{score}\n" for (first, second), score in zip(sentences, scores)))
    prepare_sts(tmp_path, table, 200)
    vocabulary = str(tmp_path / "vocab.txt")
    options = {
        "train_dataloader.dataset": {"path": str(tmp_path / "sentences.txt"), "vocabulary": vocabulary},
        "train_dataloader.batch_size": 8,
        "custom_hooks.0.dataloader.dataset": {"path": str(table), "vocabulary": vocabulary},
        "custom_hooks.0.dataloader.batch_size": 7,
        "model": {"embed_dim": 32, "depth": 1, "num_heads": 2},
        "train_cfg.max_iters": 1,
    }
    cfg = load_config(ROOT / "configs" / "compare" / "text_tiny.py", options)
    cfg.experiment_name = f"similarity_{tmp_path.name}"
    apply_command_line(cfg, work_dir=str(tmp_path / "run"))
    runner = train(cfg)

    hook = next(hook for hook in runner.hooks if isinstance(hook, SimilarityProbeHook))
    assert list(hook.history) == [0, 1]
    for parameter in runner.model.parameters():  # small random weights make all sentences alike
        torch.nn.init.normal_(parameter.data, generator=torch.Generator().manual_seed(parameter.numel()))
    hook.act(runner, 2)
    data, cosines = hook._loader.dataset, []
    for number in range(40):
        pair = data[number]
        ends = [(pair[name], torch.tensor([0, len(pair[name])])) for name in ("query_tokens", "passage_tokens")]
        first, second = (runner.model.extract_features(*one)[0].double() for one in ends)
        cosines.append(float(first @ second / (first.norm() * second.norm())))
    assert len({round(value, 6) for value in cosines}) > 35  # far enough from each other to be ranked
    ranks = [sorted(cosines).index(value) for value in cosines]
    expected = 1 - 6 * sum((rank - number) ** 2 for number, rank in enumerate(ranks)) / (40 * (40**2 - 1))
    assert hook.history[2] == pytest.approx(expected, abs=1e-3)  # two neighbours that change places: 2e-4
