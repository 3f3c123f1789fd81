// Which box holds a point.
//
// points_in_boxes(points, boxes, points_offsets?, boxes_offsets?) -> (index, counts)
//   points   float32 or float64 [B, N, 3], or packed [Tp, 3] with offsets int64 [B + 1].
//   boxes    the same dtype [B, M, 7] or packed [Tb, 7]: x y z l w h yaw.
//   index    int64 [B, N] or [Tp]: the first box of its sample that holds the point, faces included, counted in the
//            sample (dense) or over all rows (packed); -1 where there is none or the point is not finite.
//   counts   int64 [B, M] or [Tb]: points of the sample in each box, also those that an earlier box holds.
//   A box with a value not finite or beyond 1e18, or a size not above 0, holds nothing. Computed in double.
#pragma once

#include <string>

#include "../common/checks.h"
#include "../common/tensor.h"
#include "box_geometry.h"

namespace mae3d::boxes {

#ifdef __CUDA_ARCH__
MAE3D_HD double dot2(double a, double b, double c, double d) { return __dadd_rn(__dmul_rn(a, b), __dmul_rn(c, d)); }
#else
MAE3D_HD double dot2(double a, double b, double c, double d) { return a * b + c * d; }
#endif

// Bits do not depend on contraction into fused multiply-adds.
MAE3D_HD bool holds(const Box& box, double px, double py, double pz) {
  const double dx = px - box.x, dy = py - box.y;
  const double along = dot2(dx, box.cosine, dy, box.sine), across = dot2(dy, box.cosine, -dx, box.sine);
  return (fabs(along) <= 0.5 * box.l) & (fabs(across) <= 0.5 * box.w) & (fabs(pz - box.z) <= 0.5 * box.h) & box.valid;
}

struct Ragged {  // contiguous rows, dense or packed
  Tensor rows;
  std::optional<Tensor> offsets;
  int64_t batch, per_sample, total;
};

inline Ragged ragged(const Tensor& rows, const OptionalTensor& offsets, int64_t columns, const char* name) {
  const char* op = "points_in_boxes";
  MAE3D_CHECK(rows.scalar_type() == ScalarType::Float || rows.scalar_type() == ScalarType::Double, op, ": '", name,
              "' must have dtype float32 or float64");
  check_dim(rows, offsets ? 2 : 3, op, name);
  check_size(rows, rows.dim() - 1, columns, op, name);
  if (!offsets) return {as_contiguous(rows), {}, rows.size(0), rows.size(1), rows.size(0) * rows.size(1)};
  check_offsets(*offsets, rows.size(0), op, (std::string(name) + "_offsets").c_str());
  check_same_device(rows, *offsets, op, (std::string(name) + "_offsets").c_str());
  return {as_contiguous(rows), as_contiguous(*offsets), offsets->size(0) - 1, 0, rows.size(0)};
}

inline void check_samples(const Ragged& points, const Ragged& boxes) {
  const char* op = "points_in_boxes";
  check_dtype(boxes.rows, points.rows.scalar_type(), op, "boxes");
  check_same_device(points.rows, boxes.rows, op, "boxes");
  MAE3D_CHECK(points.offsets.has_value() == boxes.offsets.has_value(), op,
              ": give both 'points_offsets' and 'boxes_offsets' or none");
  MAE3D_CHECK(points.batch == boxes.batch, op, ": 'points' and 'boxes' must hold the same number of samples, got ",
              points.batch, " and ", boxes.batch);
}

inline std::vector<int64_t> shape_of(const Ragged& r) {
  return r.offsets ? std::vector<int64_t>{r.total} : std::vector<int64_t>{r.batch, r.per_sample};
}

}  // namespace mae3d::boxes
