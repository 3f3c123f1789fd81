// knn: the k nearest points of each query, in its own cloud.
//
// knn(points, queries, points_offsets, queries_offsets, k) -> (squared_distances, indices)
//   points            float32 [B, N, 3], or packed [T, 3] with points_offsets
//   queries           float32 [B, Q, 3], or packed [R, 3] with queries_offsets
//   *_offsets         int64 [B + 1], first row of each cloud; both or neither
//   k                 1 <= k <= 128
//   squared_distances float32 [B, Q, k] or [R, k], ascending, (dx*dx + dy*dy) + dz*dz without fused multiply-add;
//                     +inf where there are fewer than k neighbours
//   indices           int64, same shape; position in the cloud (dense) or row of points (packed), -1 where there are
//                     fewer than k; equal distances come by rising index
// A pair whose squared distance is not finite is no pair: non-finite points are never neighbours, non-finite queries
// have none.
//
// knn_backward(grad, points, queries, indices) -> (grad_points, grad_queries)
//   grad              float32, shape of indices: gradient of squared_distances; ignored where the index is -1
// Sums run in the order of the entries, so results do not depend on the number of threads.
#pragma once

#include "../common/checks.h"

namespace mae3d {

constexpr int64_t kMaxNeighbours = 128;

// Sizes of a backward call; packed points are one cloud.
struct PullSizes {
  int64_t batch, points, queries, k;
};

inline PullSizes check_pull(const Tensor& grad, const Tensor& points, const Tensor& queries, const Tensor& indices,
                            const char* op) {
  check_dtype(grad, ScalarType::Float, op, "grad");
  check_dtype(points, ScalarType::Float, op, "points");
  check_dtype(queries, ScalarType::Float, op, "queries");
  check_dtype(indices, ScalarType::Long, op, "indices");
  const int64_t dim = points.dim();
  MAE3D_CHECK(dim == 2 || dim == 3, op, ": 'points' must have 2 or 3 dimensions, got ", dim);
  check_dim(queries, dim, op, "queries");
  check_dim(indices, dim, op, "indices");
  check_dim(grad, dim, op, "grad");
  check_size(points, dim - 1, 3, op, "points");
  check_size(queries, dim - 1, 3, op, "queries");
  if (dim == 3) check_size(queries, 0, points.size(0), op, "queries");
  for (int64_t axis = 0; axis < dim - 1; ++axis) check_size(indices, axis, queries.size(axis), op, "indices");
  for (int64_t axis = 0; axis < dim; ++axis) check_size(grad, axis, indices.size(axis), op, "grad");
  check_same_device(points, queries, op, "queries");
  check_same_device(points, indices, op, "indices");
  check_same_device(points, grad, op, "grad");
  return {dim == 3 ? points.size(0) : 1, points.size(dim - 2), queries.size(dim - 2), indices.size(dim - 1)};
}

}  // namespace mae3d
