"""RetroMAE through the real command line: a vocabulary, pre-training, fine-tuning on pairs, retrieval."""

import json
import re

import pytest

pytest.importorskip("tokenizers", reason="the extra text is not installed")

from tests.engine.runs import run

WORDS = ("red", "green", "small", "large", "dog", "cat", "tree", "house", "runs", "sleeps")


@pytest.fixture(scope="module")
def sts(tmp_path_factory):
    """Sixty pairs of three words, similar by the number of words that they share."""
    root = tmp_path_factory.mktemp("sts")
    lines = []
    for number in range(60):
        first = [WORDS[(number * step + step) % 10] for step in (1, 3, 7)]
        second = first if number % 2 else [first[0], *(WORDS[(number + step) % 10] for step in (5, 6))]
        lines.append(f"{' '.join(first)},{' '.join(second)},{5.0 if number % 2 else 1.5}")
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")
    arguments = ("sts", "--root", str(root), "--pairs", str(root / "pairs.csv"), "--train-vocabulary", "160")
    assert "ready" in run(*arguments, tool="tools/prepare_data.py")
    return root


def test_pretraining_fine_tuning_retrieval(sts, tmp_path):
    small = ("model.depth=1", "model.vocab_size=160", "train_cfg.max_epochs=1", "train_dataloader.batch_size=10")
    vocabulary = f"dataset.vocabulary={sts / 'vocab.txt'}"
    output = run(
        "configs/dup_mae/dup-mae_tiny_5e_sts.py",
        *("--work-dir", str(tmp_path / "pre"), "--amp", "bf16", "--cfg-options", *small),
        *(f"train_dataloader.{vocabulary}", f"train_dataloader.dataset.path={sts / 'sentences.txt'}"),
    )
    assert "saved" in output
    config = "configs/dup_mae/dup-mae_tiny-bi-encoder_10e_sts.py"
    output = run(
        config,
        *("--work-dir", str(tmp_path / "fine"), "--cfg-options", *small, "train_cfg.val_interval=1"),
        f"model.init_cfg.checkpoint={tmp_path / 'pre' / 'epoch_1.pth'}",
        *(f"{kind}_dataloader.{vocabulary}" for kind in ("train", "val")),
        *(f"{kind}_dataloader.dataset.path={sts / 'pairs.csv'}" for kind in ("train", "val")),
    )
    assert "17 tensors loaded, 0 new" in output
    assert re.search(r"similarity/spearman: -?[01]\.\d+", output)
    texts = [f"{WORDS[n]} {WORDS[n + 1]}" for n in range(8)]
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    for name in ("corpus", "queries"):
        lines = [json.dumps({"_id": f"{name[0]}{n}", "text": text}) for n, text in enumerate(texts)]
        (tmp_path / "set" / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("\n".join(f"q{n}\tc{n}\t1" for n in range(8)))
    output = run(
        "configs/retro_mae/retro-mae_base-bi-encoder_10e_beir.py",
        str(tmp_path / "fine" / "epoch_1.pth"),
        *("--work-dir", str(tmp_path / "test"), "--cfg-options", "model.depth=1", "model.vocab_size=160"),
        *("model.embed_dim=96", "model.num_heads=4", "model.max_length=64", "model.init_cfg=None"),
        *(f"test_dataloader.{vocabulary}", f"test_dataloader.dataset.root={tmp_path / 'set'}"),
        *("test_dataloader.num_workers=0", "model.similarity=cosine"),
        tool="tools/test.py",
    )
    assert "retrieval/mrr@10 1.0000, retrieval/ndcg@10 1.0000, retrieval/recall@100 1.0000" in output
