"""Sentences of the STS benchmark joined to blocks of 64 tokens, for pre-training. Written by

python tools/prepare_data.py sts --root data/sts --pairs data/stsb_en_train.csv
python tools/prepare_data.py text --root data/sts --documents data/sts/sentences.txt --block-length 62
    --across-documents
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import TokenBlocks, collate_tokens
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(type=TokenBlocks, path="data/sts/blocks", vocabulary="data/sts/vocab.txt", max_length=64),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=32,
    num_workers=0,
    drop_last=True,
)
