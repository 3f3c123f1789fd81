# python tools/train.py configs/compare/text_tiny.py
"""Text: RetroMAE on sentences of the STS benchmark; cosines of features are held against judged similarity.

tools/compare.py writes the sentences and their vocabulary below its output. By hand:
python tools/prepare_data.py sts --root data/sts --pairs data/text/stsb_en_train.csv

The probe is Spearman's correlation over the pairs of the dev set, nothing is fitted. The backbone has the size of every
file in this folder, 4 blocks of width 128 with 4 heads, but its norms sit behind the branches, as in BERT.
"""

from mmengine.config import read_base

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import SentencePairs, TextDocuments, collate_tokens
from mae3d.engine.hooks import SimilarityProbeHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import RetroMAE

with read_base():
    from .._base_.schedules.compare import *

model = dict(type=RetroMAE, vocab_size=2000, embed_dim=128, depth=4, num_heads=4, max_length=64, dropout=0.0)
data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(type=TextDocuments, path="data/sts/sentences.txt", vocabulary="data/sts/vocab.txt", max_length=64),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=32,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=SimilarityProbeHook,
        interval=1000000,
        dataloader=dict(
            dataset=dict(
                type=SentencePairs,
                path="data/text/stsb_en_dev.csv",
                vocabulary="data/sts/vocab.txt",
                max_length=64,
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_tokens),
            batch_size=64,
            num_workers=0,
        ),
    ),
]
