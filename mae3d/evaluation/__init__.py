"""Metrics: each a class with ``process`` and ``compute``, checked against the official evaluator."""

from mae3d.evaluation.accuracy import Accuracy, VotedAccuracy
from mae3d.evaluation.average_precision import MeanAveragePrecision, average_precision
from mae3d.evaluation.few_shot import FewShotSummary
from mae3d.evaluation.generation import GenerationMetric
from mae3d.evaluation.kitti_frames import KittiMetric
from mae3d.evaluation.linear_svm import PROTOCOLS, LinearSVM, SvmAccuracy, SvmProtocol
from mae3d.evaluation.nuscenes_frames import NuScenesMetric
from mae3d.evaluation.once_detection import OnceMetric
from mae3d.evaluation.part_iou import PartIoU
from mae3d.evaluation.retrieval import RetrievalMetric
from mae3d.evaluation.similarity import SimilarityCorrelation
from mae3d.evaluation.waymo_frames import WaymoMetric

__all__ = [
    "PROTOCOLS",
    "Accuracy",
    "FewShotSummary",
    "GenerationMetric",
    "KittiMetric",
    "LinearSVM",
    "MeanAveragePrecision",
    "NuScenesMetric",
    "OnceMetric",
    "PartIoU",
    "RetrievalMetric",
    "SimilarityCorrelation",
    "SvmAccuracy",
    "SvmProtocol",
    "VotedAccuracy",
    "WaymoMetric",
    "average_precision",
]
