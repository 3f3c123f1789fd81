"""Point-BERT's fine-tuning network on 1024 points, from its pre-training run."""

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import PointBERTClassifier

model = dict(
    type=PointBERTClassifier,
    num_classes=40,
    num_groups=64,
    group_size=32,
    head="mlp2",
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-bert_small_300e_shapenet55/epoch_301.pth"),
)
