// Rows of clouds by index, and the gradient of that.
//
// gather_points(features, indices) -> gathered
//   features  [B, N, C] of any dtype; the last axis is read in place where its stride is 1
//   indices   [B, M] int64, rows of the cloud; -1 gives zeros
//   gathered  [B, M, C]
//
// gather_points_backward(gradient, indices, num_points) -> gradient of features
//   gradient    [B, M, C] float16, bfloat16, float32 or float64
//   indices     [B, M] int64 as above; -1 adds nothing
//   num_points  N
//   result      [B, N, C]: sum of the rows of `gradient` whose index is n, in float32 (float64 for float64) and
//               in an order that depends on the indices and the device alone: the same bits in every run. On the
//               CPU that is ascending m, whatever the number of threads.
// Any other index is an error on the CPU; on CUDA, where the host does not look, it is taken as -1.
#pragma once

#include "../common/checks.h"

namespace mae3d::gather {

inline void check_indices(const Tensor& rows, const Tensor& indices, const char* op, const char* name) {
  check_dim(rows, 3, op, name);
  check_dtype(indices, ScalarType::Long, op, "indices");
  check_dim(indices, 2, op, "indices");
  check_size(indices, 0, rows.size(0), op, "indices");
  check_same_device(rows, indices, op, "indices");
}

inline void check_gradient(const Tensor& gradient, const Tensor& indices, int64_t num_points) {
  constexpr const char* op = "gather_points_backward";
  check_indices(gradient, indices, op, "gradient");
  check_size(indices, 1, gradient.size(1), op, "indices");
  MAE3D_CHECK(num_points >= 0, op, ": 'num_points' must be >= 0, got ", num_points);
}

// Rows that lie anywhere, each in one piece.
inline Tensor with_dense_rows(const Tensor& features) {
  return features.size(2) <= 1 || features.stride(2) == 1 ? features : as_contiguous(features);
}

[[noreturn]] inline void fail_dtype(const Tensor& t) {
  fail("gather_points_backward: 'gradient' must be float16, bfloat16, float32 or float64, got ",
       toString(t.scalar_type()));
}

}  // namespace mae3d::gather
