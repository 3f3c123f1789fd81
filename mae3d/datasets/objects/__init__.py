"""Object clouds: one file per data set."""

from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.objects.collate import collate_clouds
from mae3d.datasets.objects.fewshot import ModelNetFewShot
from mae3d.datasets.objects.folder import FolderClouds
from mae3d.datasets.objects.labelled_clouds import LabelledClouds
from mae3d.datasets.objects.lifted_images import LiftedImages
from mae3d.datasets.objects.modelnet40 import ModelNet40
from mae3d.datasets.objects.modelnet40_hdf5 import ModelNet40HDF5
from mae3d.datasets.objects.scanobjectnn import ScanObjectNN
from mae3d.datasets.objects.scanobjectnn_scans import ScanObjectNNScans
from mae3d.datasets.objects.shapenet55 import ShapeNet55
from mae3d.datasets.objects.shapenet_feat import ShapeNetFeat
from mae3d.datasets.objects.shapenet_pc15k import ShapeNet15k
from mae3d.datasets.objects.shapenetpart import ShapeNetPart
from mae3d.datasets.objects.simulated import SimulatedObjects

__all__ = [
    "Cloud",
    "FolderClouds",
    "LabelledClouds",
    "LiftedImages",
    "ModelNet40",
    "ModelNet40HDF5",
    "ModelNetFewShot",
    "ObjectDataset",
    "ScanObjectNN",
    "ScanObjectNNScans",
    "ShapeNet15k",
    "ShapeNet55",
    "ShapeNetFeat",
    "ShapeNetPart",
    "SimulatedObjects",
    "collate_clouds",
]
