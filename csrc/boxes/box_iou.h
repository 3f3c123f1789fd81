// Overlap measures of rotated boxes for all pairs, and their gradients.
//
// box_iou(a, b, kind) -> values
//   a        float32 or float64 [B, N, 7]; b the same dtype [B, M, 7]: x y z l w h yaw, gravity centre, metres,
//            radians counter-clockwise from +x.
//   kind     0 area of the intersection seen from above, 1 its ratio to the area of the union, 2 the ratio of volumes,
//            3 generalised: kind 2 - 1 + union / (hull seen from above * height of both).
//   values   dtype of a, [B, N, M]. A pair with an invalid box (a value not finite or beyond 1e18, a size not above 0)
//            has 0, for kind 3 -1.
//
// box_iou_backward(grad, a, b, kind) -> (grad_a, grad_b)
//   grad     dtype of a, [B, N, M]. Pairs with grad 0 or an invalid box give nothing. Where the derivative jumps
//            (edges that coincide, equal tops or bottoms) it is that of one side. Sums in double, in order of index.
#pragma once

#include "../common/checks.h"
#include "../common/tensor.h"
#include "box_geometry.h"

namespace mae3d::boxes {

enum Kind : int64_t { kArea = 0, kIouBev = 1, kIou3d = 2, kGiou3d = 3 };

MAE3D_HD double value_of_invalid(int64_t kind) { return kind == kGiou3d ? -1 : 0; }

// Value of a valid pair; derivatives are added to ga[7] and gb[7], times `scale`.
template <bool kGradient>
MAE3D_HD double pair_value(int64_t kind, const Box& a, const Box& b, double scale, double* ga, double* gb) {
  const bool solid = kind >= kIou3d;
  const bool top_a = a.top() <= b.top(), bottom_a = a.bottom() >= b.bottom();
  double height = solid ? (top_a ? a.top() : b.top()) - (bottom_a ? a.bottom() : b.bottom()) : 1;
  if (!(height > 0)) height = 0;
  Gradient cut_a, cut_b, hull_a, hull_b;
  double cut = 0;
  if (height > 0 && circles_meet(a.x - b.x, a.y - b.y, a.radius + b.radius))
    cut = intersection<kGradient>(a, b, &cut_a, &cut_b);
  if (kind != kGiou3d && cut == 0) return 0;

  const double inter = cut * height;
  const double size_a = solid ? a.volume() : a.area(), size_b = solid ? b.volume() : b.area();
  const double both = size_a + size_b - inter;
  double value = kind == kArea ? inter : inter / both, extent = 1, enclosing = 1, flat = 1;
  if (kind == kGiou3d) {
    flat = hull<kGradient>(a, b, &hull_a, &hull_b);
    extent = (top_a ? b.top() : a.top()) - (bottom_a ? b.bottom() : a.bottom());
    enclosing = fmax(flat * extent, both);
    value += both / enclosing - 1;
  }
  if (!kGradient) return value;

  for (int side = 0; side < 2; ++side) {
    const Box& box = side == 0 ? a : b;
    const Gradient& c = side == 0 ? cut_a : cut_b;
    const Gradient& f = side == 0 ? hull_a : hull_b;
    const bool top = (side == 0) == top_a, bottom = (side == 0) == bottom_a;  // this box bounds the overlap
    const double tall = solid ? box.h : 1;
    const double d_height_z = height > 0 ? (top ? 1.0 : 0.0) - (bottom ? 1.0 : 0.0) : 0;
    const double d_height_h = height > 0 ? (top ? 0.5 : 0.0) + (bottom ? 0.5 : 0.0) : 0;
    const double d_extent_z = (top ? 0.0 : 1.0) - (bottom ? 0.0 : 1.0);
    const double d_extent_h = (top ? 0.0 : 0.5) + (bottom ? 0.0 : 0.5);
    const double d_cut[7] = {c.x, c.y, 0, c.l, c.w, 0, c.yaw}, d_flat[7] = {f.x, f.y, 0, f.l, f.w, 0, f.yaw};
    for (int k = 0; k < kParameters; ++k) {
      const double d_height = !solid ? 0 : k == 2 ? d_height_z : k == 5 ? d_height_h : 0;
      const double d_extent = k == 2 ? d_extent_z : k == 5 ? d_extent_h : 0;
      const double d_size = k == 3 ? box.w * tall : k == 4 ? box.l * tall : k == 5 && solid ? box.l * box.w : 0;
      const double d_inter = d_cut[k] * height + cut * d_height, d_both = d_size - d_inter;
      double d = kind == kArea ? d_inter : (d_inter - inter / both * d_both) / both;
      if (kind == kGiou3d) {
        const double d_enclosing = d_flat[k] * extent + flat * d_extent;
        d += (d_both - both / enclosing * d_enclosing) / enclosing;
      }
      (side == 0 ? ga : gb)[k] += scale * d;
    }
  }
  return value;
}

inline void check_boxes(const Tensor& boxes, const char* op, const char* name) {
  MAE3D_CHECK(boxes.scalar_type() == ScalarType::Float || boxes.scalar_type() == ScalarType::Double, op, ": '", name,
              "' must have dtype float32 or float64");
  check_dim(boxes, 3, op, name);
  check_size(boxes, 2, kParameters, op, name);
}

inline void check_pairs(const Tensor& a, const Tensor& b, int64_t kind, const char* op) {
  check_boxes(a, op, "a");
  check_boxes(b, op, "b");
  check_dtype(b, a.scalar_type(), op, "b");
  check_size(b, 0, a.size(0), op, "b");
  check_same_device(a, b, op, "b");
  MAE3D_CHECK(kind >= kArea && kind <= kGiou3d, op, ": 'kind' must be 0, 1, 2 or 3, got ", kind);
}

inline void check_grad(const Tensor& grad, const Tensor& a, const Tensor& b, const char* op) {
  check_dtype(grad, a.scalar_type(), op, "grad");
  check_dim(grad, 3, op, "grad");
  check_size(grad, 0, a.size(0), op, "grad");
  check_size(grad, 1, a.size(1), op, "grad");
  check_size(grad, 2, b.size(1), op, "grad");
  check_same_device(a, grad, op, "grad");
}

}  // namespace mae3d::boxes
