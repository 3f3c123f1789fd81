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

// Everything a measure of a valid pair is made of.
struct PairParts {
  int64_t kind;
  bool solid, top_a, bottom_a;    // volumes count; a bounds the common height above; below
  double cut, height;             // common area and height
  double inter, both;             // intersection and union
  double flat, extent, enclosing; // area of the hull, joint height, volume of the prism
  Gradient cut_of[2], flat_of[2]; // derivatives by box a and box b

  MAE3D_HD double value() const {
    if (kind == kArea) return inter;
    return kind == kGiou3d ? inter / both + both / enclosing - 1 : inter / both;
  }
};

template <bool kGradient> MAE3D_HD PairParts parts_of(int64_t kind, const Box& a, const Box& b) {
  PairParts p{kind, kind >= kIou3d, a.top() <= b.top(), a.bottom() >= b.bottom(), 0, 1, 0, 0, 1, 1, 1, {}, {}};
  if (p.solid) p.height = fmax(0.0, (p.top_a ? a.top() : b.top()) - (p.bottom_a ? a.bottom() : b.bottom()));
  if (p.height > 0 && circles_meet(a.x - b.x, a.y - b.y, a.radius + b.radius))
    p.cut = intersection<kGradient>(a, b, &p.cut_of[0], &p.cut_of[1]);
  p.inter = p.cut * p.height;
  p.both = (p.solid ? a.volume() + b.volume() : a.area() + b.area()) - p.inter;
  if (kind != kGiou3d) return p;
  p.flat = hull<kGradient>(a, b, &p.flat_of[0], &p.flat_of[1]);
  p.extent = (p.top_a ? b.top() : a.top()) - (p.bottom_a ? b.bottom() : a.bottom());
  p.enclosing = fmax(p.flat * p.extent, p.both);
  return p;
}

// Adds `scale` times the derivative of the value by the 7 numbers of box a (side 0) or b (side 1).
MAE3D_HD void add_gradient(const PairParts& p, const Box& box, int side, double scale, double* result) {
  const Gradient &c = p.cut_of[side], &f = p.flat_of[side];
  const bool top = (side == 0) == p.top_a, bottom = (side == 0) == p.bottom_a;  // this box bounds the common height
  const double tall = p.solid ? box.h : 1, lies_in = p.height > 0 ? 1 : 0;
  const double d_cut[kParameters] = {c.x, c.y, 0, c.l, c.w, 0, c.yaw};
  const double d_flat[kParameters] = {f.x, f.y, 0, f.l, f.w, 0, f.yaw};
  for (int k = 0; k < kParameters; ++k) {
    const double by_top = k == 2 ? 1 : k == 5 ? 0.5 : 0, by_bottom = k == 2 ? 1 : k == 5 ? -0.5 : 0;
    const double d_height = p.solid ? lies_in * ((top ? by_top : 0) - (bottom ? by_bottom : 0)) : 0;
    const double d_size = k == 3 ? box.w * tall : k == 4 ? box.l * tall : k == 5 && p.solid ? box.area() : 0;
    const double d_inter = d_cut[k] * p.height + p.cut * d_height, d_both = d_size - d_inter;
    double d = p.kind == kArea ? d_inter : (d_inter - p.inter / p.both * d_both) / p.both;
    if (p.kind == kGiou3d) {
      const double d_extent = (top ? 0 : by_top) - (bottom ? 0 : by_bottom);
      const double d_enclosing = d_flat[k] * p.extent + p.flat * d_extent;
      d += (d_both - p.both / p.enclosing * d_enclosing) / p.enclosing;
    }
    result[k] += scale * d;
  }
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
