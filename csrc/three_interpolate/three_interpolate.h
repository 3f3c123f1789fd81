// three_interpolate: weighted sums of feature rows, by convention of the three nearest points.
//
// three_interpolate(features, indices, weights) -> interpolated
//   features      float32, float64, float16 or bfloat16 [B, N, C], or packed [T, C]
//   indices       int64 [B, Q, K] positions in the cloud, or packed [R, K] rows of features; negative: no contribution
//   weights       shape of indices; float64 with float64 features, else float32
//   interpolated  dtype of features, [B, Q, C] or [R, C]: sum over k of weights[k] * features[indices[k]], summed in
//                 float32 (float64) in the order of k
// The CPU rejects an index beyond the features; CUDA, which cannot without waiting, takes it as no contribution.
//
// three_interpolate_backward(grad, features, indices, weights) -> (grad_features, grad_weights)
//   grad          dtype and shape of interpolated
//   grad_features dtype of features; sums run over the entries in their order, so they do not depend on threads
#pragma once

#include "common/float_types.h"

namespace mae3d {

// Sizes of one call; packed features are one cloud.
struct InterpolationSizes {
  int64_t batch, rows, queries, neighbours, channels;
};

inline InterpolationSizes check_sizes(const Tensor& features, const Tensor& indices, const Tensor& weights, const char* op) {
  const int64_t dim = features.dim();
  MAE3D_CHECK(dim == 2 || dim == 3, op, ": 'features' must have 2 or 3 dimensions, got ", dim);
  check_dim(indices, dim, op, "indices");
  check_dim(weights, dim, op, "weights");
  check_dtype(indices, ScalarType::Long, op, "indices");
  check_dtype(weights, features.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float, op,
              "weights");
  check_same_device(features, indices, op, "indices");
  check_same_device(features, weights, op, "weights");
  for (int64_t axis = 0; axis < dim; ++axis) check_size(weights, axis, indices.size(axis), op, "weights");
  if (dim == 3) check_size(indices, 0, features.size(0), op, "indices");
  return {dim == 3 ? features.size(0) : 1, features.size(dim - 2), indices.size(dim - 2), indices.size(dim - 1),
          features.size(dim - 1)};
}

}  // namespace mae3d
