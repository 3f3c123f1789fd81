"""Heads: what is learned downstream of a pre-trained encoder."""

from mae3d.models.heads.audio import AudioMAEClassifier, audio_mae_classifier_test
from mae3d.models.heads.bi_encoder import BiEncoder, bi_encoder_test, bi_encoder_tiny
from mae3d.models.heads.classification import PointClassifier, classification_head
from mae3d.models.heads.detection import AnchorHead, CenterHead, Detector
from mae3d.models.heads.lexical_bi_encoder import LexicalBiEncoder, lexical_bi_encoder_test
from mae3d.models.heads.p3p import P3PClassifier, p3p_classifier_test
from mae3d.models.heads.part_segmentation import PointPartSegmenter
from mae3d.models.heads.point_bert import (
    PointBERTClassifier,
    PointBERTSegmenter,
    point_bert_classifier_test,
    point_bert_segmenter_test,
)
from mae3d.models.heads.point_mae import (
    PointMAEClassifier,
    PointMAESegmenter,
    point_mae_classifier_test,
    point_mae_segmenter_test,
)
from mae3d.models.heads.token_classification import TokenClassifier
from mae3d.models.heads.vision import (
    Data2Vec2Classifier,
    MAEClassifier,
    MAESTClassifier,
    VideoMAEClassifier,
    data2vec2_classifier_test,
    mae_classifier_test,
    videomae_classifier_test,
)
from mae3d.models.heads.voting import Voting

__all__ = [
    "AnchorHead",
    "AudioMAEClassifier",
    "BiEncoder",
    "CenterHead",
    "Data2Vec2Classifier",
    "Detector",
    "LexicalBiEncoder",
    "MAEClassifier",
    "MAESTClassifier",
    "P3PClassifier",
    "PointBERTClassifier",
    "PointBERTSegmenter",
    "PointClassifier",
    "PointMAEClassifier",
    "PointMAESegmenter",
    "PointPartSegmenter",
    "TokenClassifier",
    "VideoMAEClassifier",
    "Voting",
    "audio_mae_classifier_test",
    "bi_encoder_test",
    "bi_encoder_tiny",
    "classification_head",
    "data2vec2_classifier_test",
    "lexical_bi_encoder_test",
    "mae_classifier_test",
    "p3p_classifier_test",
    "point_bert_classifier_test",
    "point_bert_segmenter_test",
    "point_mae_classifier_test",
    "point_mae_segmenter_test",
    "videomae_classifier_test",
]
