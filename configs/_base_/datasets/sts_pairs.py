"""STS benchmark: pairs that people scored 4 or more are positives of each other; judged on all pairs of its dev set."""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.text import SentencePairs, collate_tokens
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import SimilarityCorrelation

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=SentencePairs,
        path="data/stsb_en_train.csv",
        vocabulary="data/sts/vocab.txt",
        max_length=64,
        min_score=4.0,
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_tokens),
    batch_size=64,
    num_workers=0,
    drop_last=True,
)
val_dataloader = dict(
    dataset=dict(type=SentencePairs, path="data/stsb_en_dev.csv", vocabulary="data/sts/vocab.txt", max_length=64),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_tokens),
    batch_size=64,
    num_workers=0,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=SimilarityCorrelation)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
