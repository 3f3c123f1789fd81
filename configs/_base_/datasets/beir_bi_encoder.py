"""BEIR's recipe: MS MARCO with one hard negative a query, 128 queries on each of 8 GPUs; tested on a set of BEIR.

The published recipe says how long passages are, not queries: 64 tokens here.

Another set: --cfg-options test_dataloader.dataset.root=data/beir/NAME
"""

from mmengine.config import read_base

with read_base():
    from .msmarco_bi_encoder import *

train_dataloader.update(batch_size=128)
train_dataloader.dataset.update(query_length=64, passage_length=144, group_size=2)
test_dataloader.dataset.update(root="data/beir/scifact", split="test", query_length=64, passage_length=144)
test_evaluator.update(recall=(100,), ignore_identical_ids=True)
