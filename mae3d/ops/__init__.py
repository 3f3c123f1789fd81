"""Operators: the Python face of ``csrc/``. One module per operator."""

from mae3d.ops.ball_query import BallQuery as BallQuery
from mae3d.ops.ball_query import ball_query as ball_query
from mae3d.ops.chamfer import ChamferDistance as ChamferDistance
from mae3d.ops.chamfer import chamfer_distance as chamfer_distance
from mae3d.ops.dense_grid import VoxelAverage as VoxelAverage
from mae3d.ops.dense_grid import grid_coordinates as grid_coordinates
from mae3d.ops.dense_grid import trilinear_devoxelize as trilinear_devoxelize
from mae3d.ops.dense_grid import voxel_average as voxel_average
from mae3d.ops.furthest_point_sample import FurthestPointSamples as FurthestPointSamples
from mae3d.ops.furthest_point_sample import furthest_point_sample as furthest_point_sample
from mae3d.ops.furthest_point_sample import furthest_point_sample_packed as furthest_point_sample_packed
from mae3d.ops.gather_points import gather_points as gather_points
from mae3d.ops.gather_points import gather_rows as gather_rows
from mae3d.ops.gather_points import group_points as group_points
from mae3d.ops.knn import KNN as KNN
from mae3d.ops.knn import knn as knn
from mae3d.ops.knn import three_nn as three_nn
from mae3d.ops.scatter import scatter_reduce as scatter_reduce
from mae3d.ops.three_interpolate import three_interpolate as three_interpolate
from mae3d.ops.three_interpolate import three_weights as three_weights
from mae3d.ops.voxelize import HardVoxelization as HardVoxelization
from mae3d.ops.voxelize import Voxelization as Voxelization
from mae3d.ops.voxelize import grid_shape as grid_shape
from mae3d.ops.voxelize import voxelize as voxelize
from mae3d.ops.voxelize import voxelize_hard as voxelize_hard
