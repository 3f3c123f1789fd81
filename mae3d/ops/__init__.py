"""Operators: the Python face of ``csrc/``. One module per operator."""

from mae3d.ops.chamfer import ChamferDistance as ChamferDistance
from mae3d.ops.chamfer import chamfer_distance as chamfer_distance
