// Non-maximum suppression of boxes that are sorted by falling score.
//
// nms_sorted(boxes, labels?, valid, threshold, circle, max_output) -> (keep, count)
//   boxes    float32 or float64 [B, N, 7]: x y z l w h yaw, best first.
//   labels   int64 [B, N] or none: only boxes of one label suppress each other.
//   valid    bool [B, N]: a false box is neither kept nor suppresses.
//   circle   false: a kept box suppresses those after it whose IoU seen from above is > threshold; a box with a value
//            not finite or beyond 1e18 or a size not above 0 overlaps nothing. true: those whose centre (x, y) is at a
//            distance <= threshold; only the centre is read, and a centre that is not finite is near nothing.
//   keep     int64 [B, min(max_output, N)]: positions of the kept boxes, ascending; -1 behind the last.
//   count    int64 [B].
//   On CUDA N is at most 65536 (N^2 / 8 bytes per sample); nothing waits for the device.
#pragma once

#include "../common/checks.h"
#include "../common/tensor.h"
#include "box_geometry.h"

namespace mae3d::boxes {

// Whether the first of two valid boxes suppresses the second.
MAE3D_HD bool overlaps(const Box& a, const Box& b, double threshold) {
  const double smaller = fmin(a.area(), b.area()), larger = fmax(a.area(), b.area());
  if (smaller <= threshold * larger && threshold >= 0) return false;  // the IoU is at most their ratio
  const double inter = intersection<false>(a, b, nullptr, nullptr);
  return inter > threshold * (a.area() + b.area() - inter);
}

inline void check_nms(const Tensor& boxes, const OptionalTensor& labels, const Tensor& valid, int64_t max_output) {
  const char* op = "nms_sorted";
  MAE3D_CHECK(boxes.scalar_type() == ScalarType::Float || boxes.scalar_type() == ScalarType::Double, op,
              ": 'boxes' must have dtype float32 or float64");
  check_dim(boxes, 3, op, "boxes");
  check_size(boxes, 2, kParameters, op, "boxes");
  check_dtype(valid, ScalarType::Bool, op, "valid");
  check_dim(valid, 2, op, "valid");
  check_size(valid, 0, boxes.size(0), op, "valid");
  check_size(valid, 1, boxes.size(1), op, "valid");
  check_same_device(boxes, valid, op, "valid");
  MAE3D_CHECK(max_output >= 0, op, ": 'max_output' must not be negative, got ", max_output);
  if (!labels) return;
  check_dtype(*labels, ScalarType::Long, op, "labels");
  check_dim(*labels, 2, op, "labels");
  check_size(*labels, 0, boxes.size(0), op, "labels");
  check_size(*labels, 1, boxes.size(1), op, "labels");
  check_same_device(boxes, *labels, op, "labels");
}

}  // namespace mae3d::boxes
