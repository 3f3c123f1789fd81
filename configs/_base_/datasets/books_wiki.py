"""Books and Wikipedia as blocks of 510 RoBERTa tokens and the two special ones, for pre-training.

vocab.json and merges.txt of RoBERTa as one tokenizer.json; then
python tools/prepare_data.py text --root data/books_wiki --documents data/books_wiki/documents
--vocabulary data/books_wiki/tokenizer.json --block-length 510 --across-documents
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import TokenBlocks, collate_tokens
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=TokenBlocks,
        path="data/books_wiki/blocks",
        vocabulary="data/books_wiki/tokenizer.json",
        max_length=512,
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=4,
    num_workers=4,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
