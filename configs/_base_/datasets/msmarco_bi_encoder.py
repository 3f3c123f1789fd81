"""MS MARCO: queries with one positive and 15 hard negative passages; 16 queries on each of 8 GPUs.

``train.jsonl`` holds query, pos and neg (of the 200 passages that BM25, or the model of the first round, ranks first).
Tested on the queries of ``qrels/dev.tsv`` in BEIR's layout.
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import QueryPassages, RetrievalTexts, collate_tokens
from mae3d.engine.loops import EvaluationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import RetrievalMetric

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=QueryPassages,
        path="data/msmarco/train.jsonl",
        vocabulary="data/bert-base-uncased/vocab.txt",
        query_length=32,
        passage_length=140,
        group_size=16,
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=16,
    num_workers=4,
    drop_last=True,
)
test_dataloader = dict(
    dataset=dict(
        type=RetrievalTexts,
        root="data/msmarco",
        vocabulary="data/bert-base-uncased/vocab.txt",
        split="dev",
        query_length=32,
        passage_length=140,
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_tokens),
    batch_size=256,
    num_workers=4,
)
test_cfg = dict(type=EvaluationLoop)
test_evaluator = dict(type=RetrievalMetric, mrr=(10,), ndcg=(10,), recall=(50, 1000))
