"""BEIR's recipe: MS MARCO with one hard negative a query, 128 queries on each of 8 GPUs; tested on a set of BEIR.

The published recipe says how long passages are, not queries: 64 tokens here.

Another set: --cfg-options test_dataloader.dataset.root=data/beir/NAME
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
        query_length=64,
        passage_length=144,
        group_size=2,
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=128,
    num_workers=4,
    drop_last=True,
)
test_dataloader = dict(
    dataset=dict(
        type=RetrievalTexts,
        root="data/beir/scifact",
        vocabulary="data/bert-base-uncased/vocab.txt",
        split="test",
        query_length=64,
        passage_length=144,
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_tokens),
    batch_size=256,
    num_workers=4,
)
test_cfg = dict(type=EvaluationLoop)
test_evaluator = dict(type=RetrievalMetric, mrr=(10,), ndcg=(10,), recall=(100,))
