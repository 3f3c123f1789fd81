// Point features to a dense cubic grid and back, as in PVCNN (Liu et al. 2019, sec. 4.1).
//
// Grids are [B, C, R, R, R] with axes x, y, z; cell (x, y, z) is flat number (x * R + y) * R + z. 1 <= R <= 1024.
// Features are float16, bfloat16, float32 or float64, accumulated in float32 (float64 for float64).
//
// voxel_average(features [B, N, C], cells int64 [B, N, 3], resolution R) -> (grid [B, C, R, R, R], counts)
//   grid: mean of the features of the points in each cell, 0 where empty; counts int64 [B, R, R, R].
//   A point with any cell index outside [0, R) is ignored.
// voxel_average_backward(grad [B, C, R, R, R], cells, counts) -> [B, N, C]: grad[cell] / counts[cell], 0 if ignored
//
// trilinear_devoxelize(grid [B, C, R, R, R], coordinates float32 [B, N, 3]) -> [B, N, C]
//   Coordinates count cells: u is clamped to [0, R - 1]; low corner floor(u), weight 1 - fraction; high corner
//   low + 1, weight fraction. A point with a NaN coordinate gets 0. Coordinates receive no gradient.
// trilinear_devoxelize_backward(grad [B, N, C], coordinates, resolution R) -> [B, C, R, R, R]
//
// Sums run over ascending points: deterministic.
#pragma once

#include "../common/float_types.h"
#include "../common/geometry.h"

namespace mae3d {

constexpr int64_t kMaxResolution = 1024;

inline void check_resolution(int64_t resolution, const char* op) {
  MAE3D_CHECK(resolution >= 1 && resolution <= kMaxResolution, op, ": 'resolution' must be in [1, 1024], got ",
              resolution);
}

inline void check_grid(const Tensor& grid, const char* op, const char* name) {
  check_dim(grid, 5, op, name);
  check_resolution(grid.size(2), op);
  check_size(grid, 3, grid.size(2), op, name);
  check_size(grid, 4, grid.size(2), op, name);
}

// `triples` [B, N, 3] belongs to a tensor with B = batch, and N = points where points >= 0.
inline void check_triples(const Tensor& triples, ScalarType dtype, const Tensor& other, int64_t points, const char* op,
                          const char* name) {
  check_dtype(triples, dtype, op, name);
  check_dim(triples, 3, op, name);
  check_size(triples, 0, other.size(0), op, name);
  if (points >= 0) check_size(triples, 1, points, op, name);
  check_size(triples, 2, 3, op, name);
  check_same_device(other, triples, op, name);
}

inline void check_average_backward(const Tensor& grad, const Tensor& cells, const Tensor& counts) {
  const char* op = "voxel_average_backward";
  check_grid(grad, op, "grad");
  check_triples(cells, ScalarType::Long, grad, -1, op, "cells");
  check_dtype(counts, ScalarType::Long, op, "counts");
  check_dim(counts, 4, op, "counts");
  check_size(counts, 0, grad.size(0), op, "counts");
  for (int axis = 1; axis < 4; ++axis) check_size(counts, axis, grad.size(2), op, "counts");
  check_same_device(grad, counts, op, "counts");
}

MAE3D_HD int32_t flat_cell(const int64_t* cell, int64_t r) {
  const bool inside = cell[0] >= 0 && cell[0] < r && cell[1] >= 0 && cell[1] < r && cell[2] >= 0 && cell[2] < r;
  return inside ? static_cast<int32_t>((cell[0] * r + cell[1]) * r + cell[2]) : -1;
}

// Flat number and weight of corner k (bits: x 4, y 2, z 1; set = high) of point u.
MAE3D_HD void trilinear_corner(const float* u, int32_t r, int k, int32_t& cell, float& weight) {
  const float top = static_cast<float>(r - 1);
  cell = 0;
  weight = 1.0f;
  for (int a = 0; a < 3; ++a) {
    const float v = u[a] > 0.0f ? (u[a] < top ? u[a] : top) : 0.0f;  // NaN: 0 here, no weight below
    const int32_t low = static_cast<int32_t>(v);
    const float fraction = v - static_cast<float>(low);
    const bool high = (k >> (2 - a)) & 1;
    weight *= high ? fraction : 1.0f - fraction;
    cell = cell * r + (high && low + 1 < r ? low + 1 : low);
    if (u[a] != u[a]) weight = 0.0f;
  }
}

}  // namespace mae3d
