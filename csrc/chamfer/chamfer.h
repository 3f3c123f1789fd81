// Nearest neighbour in the other set, both ways, for many pairs of point sets (A_s, B_s), and its gradient.
//
// chamfer_distance(a, b, a_mask?, b_mask?, a_offsets?, b_offsets?)
//     -> (a_to_b, b_to_a, a_to_b_index, b_to_a_index)
//   a, b            float32 or float64, the same for both. Dense [S, N, 3] and [S, M, 3] without offsets, or packed
//                   [Ta, 3] and [Tb, 3] with offsets; any strides.
//   a_mask, b_mask  bool [S, N] and [S, M] (packed [Ta], [Tb]) or none. A false row belongs to no set.
//   *_offsets       int64 [S + 1], both or none: set s is rows offsets[s] .. offsets[s + 1].
//   a_to_b          dtype of a, [S, N] or [Ta]: squared distance of each row of A to its nearest row of B, computed as
//                   (dx * dx + dy * dy) + dz * dz without fused multiply-add.
//   a_to_b_index    int64, same shape: that row, counted in its set (dense) or over all rows (packed); the lowest of
//                   several at equal distance.
//   b_to_a(_index)  the same with the roles exchanged.
//   No partner at a finite distance (empty set, all masked or not finite, overflow): distance +inf, index -1.
//   A row with a NaN coordinate: distance NaN, index -1; it is nobody's partner. A masked row: distance 0, index -1.
//
// chamfer_distance_backward(grad_a_to_b, grad_b_to_a, a, b, a_to_b_index, b_to_a_index, a_offsets?, b_offsets?)
//     -> (grad_a, grad_b)
//   The partners are held fixed: each pair (i, j) gives 2 g (a_i - b_j) to a_i and the opposite to b_j. Rows with
//   index -1 give nothing. A row sums its own pair first, then those that chose it in ascending order, so the bits do
//   not depend on the number of threads or the device.
#pragma once

#include <string>

#include "../common/checks.h"
#include "../common/tensor.h"

namespace mae3d {

// One side of the pairs, contiguous: rows of set s are begin(s) .. end(s).
struct PointSets {
  Tensor points;
  std::optional<Tensor> mask, offsets;
  int64_t sets = 0, per_set = 0, rows = 0;

  std::vector<int64_t> result_shape() const {
    return offsets ? std::vector<int64_t>{rows} : std::vector<int64_t>{sets, per_set};
  }
};

inline PointSets point_sets(const Tensor& points, const OptionalTensor& mask, const OptionalTensor& offsets,
                            const char* op, const char* name) {
  PointSets side;
  check_dim(points, offsets ? 2 : 3, op, name);
  check_size(points, points.dim() - 1, 3, op, name);
  MAE3D_CHECK(points.scalar_type() == ScalarType::Float || points.scalar_type() == ScalarType::Double, op, ": '", name,
              "' must have dtype float32 or float64");
  side.points = as_contiguous(points);
  side.rows = offsets ? points.size(0) : points.size(0) * points.size(1);
  side.per_set = offsets ? 0 : points.size(1);
  side.sets = offsets ? offsets->size(0) - 1 : points.size(0);
  if (offsets) {
    const std::string offsets_name = std::string(name) + "_offsets";
    check_offsets(*offsets, side.rows, op, offsets_name.c_str());
    check_same_device(points, *offsets, op, offsets_name.c_str());
    side.offsets = as_contiguous(*offsets);
  }
  if (mask) {
    const std::string mask_name = std::string(name) + "_mask";
    check_dtype(*mask, ScalarType::Bool, op, mask_name.c_str());
    check_same_device(points, *mask, op, mask_name.c_str());
    check_dim(*mask, points.dim() - 1, op, mask_name.c_str());
    for (int64_t axis = 0; axis < mask->dim(); ++axis)
      check_size(*mask, axis, points.size(axis), op, mask_name.c_str());
    side.mask = as_contiguous(*mask);
  }
  return side;
}

inline void check_pair(const PointSets& a, const PointSets& b, const char* op) {
  MAE3D_CHECK(a.points.scalar_type() == b.points.scalar_type(), op, ": 'a' and 'b' must have the same dtype");
  MAE3D_CHECK(a.offsets.has_value() == b.offsets.has_value(), op, ": give both 'a_offsets' and 'b_offsets' or none");
  MAE3D_CHECK(a.sets == b.sets, op, ": 'a' and 'b' must hold the same number of sets, got ", a.sets, " and ", b.sets);
  check_same_device(a.points, b.points, op, "b");
}

inline void check_backward(const PointSets& side, const Tensor& grad, const Tensor& index, const char* op,
                           const char* grad_name, const char* index_name) {
  check_dtype(grad, side.points.scalar_type(), op, grad_name);
  check_dtype(index, ScalarType::Long, op, index_name);
  check_same_device(side.points, grad, op, grad_name);
  check_same_device(side.points, index, op, index_name);
  MAE3D_CHECK(grad.numel() == side.rows && index.numel() == side.rows, op, ": '", grad_name, "' and '", index_name,
              "' must hold one value per row, ", side.rows, ", got ", grad.numel(), " and ", index.numel());
}

}  // namespace mae3d
