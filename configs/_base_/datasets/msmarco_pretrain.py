"""Passages of MS MARCO (corpus.jsonl of BEIR), up to 150 tokens, for pre-training; 128 on each of 8 GPUs."""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import TextDocuments, collate_tokens
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=TextDocuments,
        path="data/msmarco/corpus.jsonl",
        vocabulary="data/bert-base-uncased/vocab.txt",
        max_length=150,
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=128,
    num_workers=4,
    drop_last=True,
)
