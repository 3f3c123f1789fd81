// Reduction of feature rows into groups (voxels, pillars, windows) and its gradient.
//
// scatter_reduce(features, index, num_rows, reduce, with_arg) -> (out, counts, arg)
//   features  float16 | bfloat16 | float32 | float64 [T, C]; accumulated in float32, float64 for float64
//   index     int64 [T]: the row of `out` that row i joins; negative: the row is ignored. An index >= num_rows is
//             an error on the CPU and ignored on CUDA, which does not synchronise
//   num_rows  V >= 0
//   reduce    "sum" | "mean" | "max" | "min"
//   with_arg  max and min only: also return which row won
//   out       dtype of features [V, C]; rows that nothing joins are 0. A NaN wins max and min
//   counts    int64 [V]: rows that joined
//   arg       int32 [V, C]: the first row that holds the extreme value, -1 for empty rows; [0, C] without with_arg
//
// scatter_reduce_backward(grad [V, C], index [T], counts [V], arg, reduce) -> [T, C], dtype of grad
//   sum: grad[index]; mean: grad[index] / counts[index]; max, min: grad where the row won, else 0; 0 where ignored.
//
// Rows are added in ascending order whatever the schedule: same bits on every run and for every number of threads.
#pragma once

#include <string>

#include "../common/float_types.h"

namespace mae3d {

enum class Reduce { kSum, kMean, kMax, kMin };

inline bool is_extreme(Reduce r) { return r == Reduce::kMax || r == Reduce::kMin; }

inline Reduce parse_reduce(const std::string& name, const char* op) {
  if (name == "sum") return Reduce::kSum;
  if (name == "mean") return Reduce::kMean;
  if (name == "max") return Reduce::kMax;
  MAE3D_CHECK(name == "min", op, ": 'reduce' must be 'sum', 'mean', 'max' or 'min', got '", name, "'");
  return Reduce::kMin;
}

inline void check_scatter(const Tensor& features, const Tensor& index, int64_t num_rows) {
  const char* op = "scatter_reduce";
  check_dim(features, 2, op, "features");
  check_dtype(index, ScalarType::Long, op, "index");
  check_dim(index, 1, op, "index");
  check_size(index, 0, features.size(0), op, "index");
  check_same_device(features, index, op, "index");
  MAE3D_CHECK(features.size(0) < (int64_t{1} << 31), op, ": 'features' must have fewer than 2^31 rows");
  MAE3D_CHECK(num_rows >= 0 && num_rows < (int64_t{1} << 31), op, ": 'num_rows' must be in [0, 2^31), got ", num_rows);
}

inline void check_scatter_backward(const Tensor& grad, const Tensor& index, const Tensor& counts, const Tensor& arg,
                                   Reduce reduce) {
  const char* op = "scatter_reduce_backward";
  check_dim(grad, 2, op, "grad");
  check_dtype(index, ScalarType::Long, op, "index");
  check_dim(index, 1, op, "index");
  check_dtype(counts, ScalarType::Long, op, "counts");
  check_dim(counts, 1, op, "counts");
  check_size(counts, 0, grad.size(0), op, "counts");
  check_same_device(grad, index, op, "index");
  check_same_device(grad, counts, op, "counts");
  if (!is_extreme(reduce)) return;
  check_dtype(arg, ScalarType::Int, op, "arg");
  check_dim(arg, 2, op, "arg");
  check_size(arg, 0, grad.size(0), op, "arg");
  check_size(arg, 1, grad.size(1), op, "arg");
  check_same_device(grad, arg, op, "arg");
}

}  // namespace mae3d
