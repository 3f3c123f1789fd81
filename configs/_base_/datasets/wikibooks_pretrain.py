"""English Wikipedia and BookCorpus in blocks of up to 512 tokens, for pre-training; 32 on each of 8 GPUs.

Blocks: python tools/prepare_data.py text --root data/wikibooks --documents data/wikibooks/documents
    --vocabulary data/bert-base-uncased/vocab.txt --block-length 510
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import TokenBlocks, collate_tokens
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=TokenBlocks,
        path="data/wikibooks/blocks",
        vocabulary="data/bert-base-uncased/vocab.txt",
        max_length=512,
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=32,
    num_workers=4,
    drop_last=True,
)
