// A batch of point clouds, dense [B, N, 3] or packed [T, 3] with offsets [B + 1], seen in one way.
#pragma once

#include "checks.h"

namespace mae3d {

struct Clouds {
  const float* xyz = nullptr;
  const int64_t* offsets = nullptr;  // null: every cloud has `each` points
  int64_t batch = 0, each = 0;
  int64_t begin(int64_t b) const { return offsets ? offsets[b] : b * each; }
  int64_t size(int64_t b) const { return offsets ? offsets[b + 1] - offsets[b] : each; }
};

// Checks and views; `points` and `offsets` must be contiguous and outlive the view.
inline Clouds view_clouds(const Tensor& points, const OptionalTensor& offsets, const char* op, const char* name) {
  check_dtype(points, ScalarType::Float, op, name);
  check_dim(points, offsets ? 2 : 3, op, name);
  check_size(points, points.dim() - 1, 3, op, name);
  if (!offsets) return {cdata<float>(points), nullptr, points.size(0), points.size(1)};
  check_offsets(*offsets, points.size(0), op, "offsets");
  return {cdata<float>(points), cdata<int64_t>(*offsets), offsets->size(0) - 1, 0};
}

inline OptionalTensor as_contiguous(const OptionalTensor& t) {
  return t ? OptionalTensor(as_contiguous(*t)) : std::nullopt;
}

// Points and queries of a search, made contiguous and checked against each other.
struct CloudPair {
  CloudPair(const Tensor& p, const Tensor& q, const OptionalTensor& po, const OptionalTensor& qo, const char* op)
      : points_tensor(as_contiguous(p)), queries_tensor(as_contiguous(q)), points_offsets(as_contiguous(po)),
        queries_offsets(as_contiguous(qo)) {
    MAE3D_CHECK(po.has_value() == qo.has_value(), op, ": give both offsets (packed clouds) or none (dense)");
    points = view_clouds(points_tensor, points_offsets, op, "points");
    queries = view_clouds(queries_tensor, queries_offsets, op, "queries");
    check_same_device(p, q, op, "queries");
    MAE3D_CHECK(points.batch == queries.batch, op, ": 'points' and 'queries' must hold as many clouds, got ",
                points.batch, " and ", queries.batch);
  }
  // Rows of `queries` times k, or without k: the shape of a result.
  std::vector<int64_t> result_shape(std::optional<int64_t> k) const {
    std::vector<int64_t> shape{queries_tensor.size(0)};
    if (queries_tensor.dim() == 3) shape.push_back(queries_tensor.size(1));
    if (k) shape.push_back(*k);
    return shape;
  }
  Tensor points_tensor, queries_tensor;
  OptionalTensor points_offsets, queries_offsets;
  Clouds points, queries;
};

}  // namespace mae3d
