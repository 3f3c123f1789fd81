// Sums of feature rows, each multiplied by the matrix that its index picks: tokens of voxels whose weights depend on
// their place in the patch. out[t] = sum (or mean) over rows v with group[v] = t of features[v] * weight[index[v]].
// No [M, C, D] tensor of picked matrices is made.
//
// indexed_linear(features, weight, index, group, num_groups, mean) -> (out, counts)
//   features   [M, C]: dtype of weight, or float32 with float16 and bfloat16 weights; sums in float32, float64 for
//              float64
//   weight     float16 | bfloat16 | float32 | float64 [K, C, D]
//   index      int64 [M]: matrix of row v, in [0, K). Other values are an error on the CPU; on CUDA, which does not
//              synchronise, the row is ignored
//   group      int64 [M]: row of `out` that row v joins; negative: the row is ignored. A group >= num_groups is an
//              error on the CPU and ignored on CUDA
//   num_groups T >= 0
//   out        dtype of weight [T, D]; rows that nothing joins are 0
//   counts     int64 [T]: rows that joined
//
// With scale[t] = 1 / counts[t] for the mean and 1 for the sum, and grad [T, D] in the dtype of weight:
// indexed_linear_feature_grad(grad, weight, index, group, counts, mean) -> [M, C], dtype of weight
//   scale[t] * weight[index[v]] * grad[t]; 0 where ignored
// indexed_linear_weight_grad(grad, features, index, group, counts, num_weights, mean) -> [K, C, D], dtype of grad
//   sum over rows v with index k of features[v]^T * scale[t] * grad[t]
//
// A group adds its rows by ascending index, then ascending row, and a matrix its rows in ascending order: same bits on
// every run and for every number of threads.
#pragma once

#include "../common/float_types.h"

namespace mae3d::indexed_linear {

constexpr const char* kForward = "indexed_linear";
constexpr const char* kFeatureGrad = "indexed_linear_feature_grad";
constexpr const char* kWeightGrad = "indexed_linear_weight_grad";

inline bool is_half(ScalarType dtype) { return dtype == ScalarType::Half || dtype == ScalarType::BFloat16; }

inline ScalarType sum_type(ScalarType dtype) { return dtype == ScalarType::Double ? dtype : ScalarType::Float; }

// Rows [M] and the groups that they may join.
inline void check_rows(const char* op, const Tensor& like, const Tensor& index, const Tensor& group, int64_t num_groups,
                       int64_t num_weights) {
  check_dtype(index, ScalarType::Long, op, "index");
  check_dim(index, 1, op, "index");
  check_dtype(group, ScalarType::Long, op, "group");
  check_dim(group, 1, op, "group");
  check_size(group, 0, index.size(0), op, "group");
  check_same_device(like, index, op, "index");
  check_same_device(like, group, op, "group");
  MAE3D_CHECK(index.size(0) < (int64_t{1} << 31), op, ": 'index' must have fewer than 2^31 rows");
  MAE3D_CHECK(num_groups >= 0 && num_groups < (int64_t{1} << 31), op, ": 'num_groups' must be in [0, 2^31), got ",
              num_groups);
  MAE3D_CHECK(num_weights >= 0 && num_weights < (int64_t{1} << 31), op, ": there must be fewer than 2^31 matrices, got ",
              num_weights);
}

// `features` [M, C] beside `other` (weight or grad), whose dtype it shares or widens.
inline void check_features(const char* op, const Tensor& features, const Tensor& other, const char* other_name) {
  const ScalarType own = features.scalar_type(), dtype = other.scalar_type();
  check_dim(features, 2, op, "features");
  check_same_device(features, other, op, other_name);
  MAE3D_CHECK(own == dtype || (own == ScalarType::Float && is_half(dtype)), op,
              ": 'features' must have the dtype of '", other_name, "' or widen it to float32, got ", toString(own),
              " and ", toString(dtype));
}

inline void check_grad(const char* op, const Tensor& grad, const Tensor& counts) {
  check_dim(grad, 2, op, "grad");
  check_dtype(counts, ScalarType::Long, op, "counts");
  check_dim(counts, 1, op, "counts");
  check_size(counts, 0, grad.size(0), op, "counts");
  check_same_device(grad, counts, op, "counts");
}

inline void check_forward(const Tensor& features, const Tensor& weight, const Tensor& index, const Tensor& group,
                          int64_t num_groups) {
  check_dim(weight, 3, kForward, "weight");
  check_features(kForward, features, weight, "weight");
  check_size(weight, 1, features.size(1), kForward, "weight");
  check_size(index, 0, features.size(0), kForward, "index");
  check_rows(kForward, features, index, group, num_groups, weight.size(0));
}

inline void check_feature_grad(const Tensor& grad, const Tensor& weight, const Tensor& index, const Tensor& group,
                               const Tensor& counts) {
  check_grad(kFeatureGrad, grad, counts);
  check_dim(weight, 3, kFeatureGrad, "weight");
  check_dtype(weight, grad.scalar_type(), kFeatureGrad, "weight");
  check_size(weight, 2, grad.size(1), kFeatureGrad, "weight");
  check_same_device(grad, weight, kFeatureGrad, "weight");
  check_rows(kFeatureGrad, grad, index, group, grad.size(0), weight.size(0));
}

inline void check_weight_grad(const Tensor& grad, const Tensor& features, const Tensor& index, const Tensor& group,
                              const Tensor& counts, int64_t num_weights) {
  check_grad(kWeightGrad, grad, counts);
  check_features(kWeightGrad, features, grad, "grad");
  check_size(index, 0, features.size(0), kWeightGrad, "index");
  check_rows(kWeightGrad, grad, index, group, grad.size(0), num_weights);
}

}  // namespace mae3d::indexed_linear
