"""Operators: the Python face of ``csrc/``. One module per operator."""

from mae3d.ops.chamfer import ChamferDistance as ChamferDistance
from mae3d.ops.chamfer import chamfer_distance as chamfer_distance
from mae3d.ops.furthest_point_sample import FurthestPointSamples as FurthestPointSamples
from mae3d.ops.furthest_point_sample import furthest_point_sample as furthest_point_sample
from mae3d.ops.furthest_point_sample import furthest_point_sample_packed as furthest_point_sample_packed
