// Voxelisation of packed point clouds: which cell each point falls into, and the list of occupied cells.
//
//   index = floor((p - low) / size) per axis, in float32, kept where 0 <= index < grid
//   key   = ((cloud * grid_z + index_z) * grid_y + index_y) * grid_x + index_x, int64
//
// Arguments shared by both operators
//   points   float32 [T, C], C >= 3, columns 0..2 = x, y, z; T < 2^31
//   offsets  int64 [B + 1]: rows offsets[b] .. offsets[b + 1] are cloud b
//   size     3 doubles (x, y, z), rounded to float32, > 0
//   low      3 doubles (x, y, z), rounded to float32
//   grid     3 ints (x, y, z), each in [1, 2^24] (finer cells are below float32 resolution); B * z * y * x < 2^63
//   clamp    false: points outside the grid are dropped; true: they go to the nearest border cell.
//            Points with a NaN or infinite x, y or z are dropped always.
//
// voxelize(points, offsets, size, low, grid, clamp, sorted) ->
//   coordinates     int64 [V, 4]  (cloud, z, y, x) of each occupied cell. sorted: ascending by key;
//                                 otherwise in the order of the first point that fell into each cell
//   point_to_voxel  int64 [T]     row of `coordinates`, -1 where dropped
//   counts          int64 [V]     points per voxel, >= 1
//   voxel_offsets   int64 [B + 1] voxels of cloud b are rows voxel_offsets[b] .. voxel_offsets[b + 1]
//
// voxelize_hard(points, offsets, size, low, grid, max_points, max_voxels) ->
//   voxels          float32 [V, P, C] the first P points of each voxel in input order, zero behind the last
//   coordinates     int64 [V, 4]      as above, in first-come order, the first max_voxels of each cloud
//   counts          int64 [V]         points kept per voxel, 1 .. P
//   voxel_offsets   int64 [B + 1]
//   point_to_slot   int64 [T]         row of voxels.view(V * P, C) that holds the point, -1 where dropped
//
// voxelize_hard_backward(grad_voxels float32 [V, P, C], point_to_slot int64 [T]) -> float32 [T, C]
//   the gradient of each point's slot, zero where the point was dropped (slot outside [0, V * P))
//
// All are deterministic. V depends on the values: the CUDA kernels read it back once, their only synchronisation.
#pragma once

#include <cmath>

#include "../common/checks.h"
#include "../common/geometry.h"

namespace mae3d {

constexpr int64_t kMaxAxisCells = int64_t{1} << 24;

struct VoxelGeometry {
  float low[3], size[3], cells[3];
  int64_t grid[3];
  bool clamp;
  MAE3D_HD int64_t per_cloud() const { return grid[0] * grid[1] * grid[2]; }
};

inline VoxelGeometry check_voxel_arguments(const Tensor& points, const Tensor& offsets, const std::vector<double>& size,
                                           const std::vector<double>& low, const std::vector<int64_t>& grid,
                                           bool clamp, const char* op) {
  check_dtype(points, ScalarType::Float, op, "points");
  check_dim(points, 2, op, "points");
  MAE3D_CHECK(points.size(1) >= 3, op, ": 'points' must have at least 3 columns, got ", points.size(1));
  MAE3D_CHECK(points.size(0) < (int64_t{1} << 31), op, ": 'points' must have fewer than 2^31 rows");
  check_offsets(offsets, points.size(0), op, "offsets");
  check_same_device(points, offsets, op, "offsets");
  MAE3D_CHECK(size.size() == 3 && low.size() == 3 && grid.size() == 3, op,
              ": 'size', 'low' and 'grid' must have 3 entries");
  VoxelGeometry g;
  g.clamp = clamp;
  const int64_t clouds = offsets.size(0) - 1;
  double total = static_cast<double>(clouds);
  for (int a = 0; a < 3; ++a) {
    g.size[a] = static_cast<float>(size[a]);
    g.low[a] = static_cast<float>(low[a]);
    g.grid[a] = grid[a];
    g.cells[a] = static_cast<float>(grid[a]);
    MAE3D_CHECK(g.size[a] > 0 && std::isfinite(g.size[a]), op, ": 'size' must be positive and finite, got ", size[a]);
    MAE3D_CHECK(std::isfinite(g.low[a]), op, ": 'low' must be finite, got ", low[a]);
    MAE3D_CHECK(grid[a] >= 1 && grid[a] <= kMaxAxisCells, op, ": 'grid' must be in [1, 2^24] per axis, got ", grid[a]);
    total *= static_cast<double>(grid[a]);
  }
  MAE3D_CHECK(total < 9.2e18, op, ": ", clouds, " clouds of ", grid[0], " x ", grid[1], " x ", grid[2],
              " cells do not fit in 63-bit keys; use a smaller range or larger voxels");
  return g;
}

inline void check_hard_backward(const Tensor& grad, const Tensor& slot) {
  const char* op = "voxelize_hard_backward";
  check_dtype(grad, ScalarType::Float, op, "grad_voxels");
  check_dim(grad, 3, op, "grad_voxels");
  check_dtype(slot, ScalarType::Long, op, "point_to_slot");
  check_dim(slot, 1, op, "point_to_slot");
  check_same_device(grad, slot, op, "point_to_slot");
}

}  // namespace mae3d
