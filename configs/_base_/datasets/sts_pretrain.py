"""Sentences of the STS benchmark, for pre-training.

The command that writes them and their vocabulary:
python tools/prepare_data.py sts --root data/sts --pairs data/stsb_en_train.csv
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import TextDocuments, collate_tokens
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(type=TextDocuments, path="data/sts/sentences.txt", vocabulary="data/sts/vocab.txt", max_length=64),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=64,
    num_workers=0,
    drop_last=True,
)
