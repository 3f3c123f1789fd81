// Two rotated boxes seen from above: area of their intersection and of their convex hull, with gradients. Double
// precision, in the frame of the second box, the same code on every device.
#pragma once

#include <cmath>

#include "../common/geometry.h"

namespace mae3d::boxes {

constexpr double kLargestValue = 1e18;
constexpr int kParameters = 7;  // x y z l w h yaw

struct Box {
  double x, y, z, l, w, h, cosine, sine, radius;
  bool valid;  // finite, not beyond 1e18, sizes above 0

  MAE3D_HD double area() const { return l * w; }
  MAE3D_HD double volume() const { return l * w * h; }
  MAE3D_HD double top() const { return z + 0.5 * h; }
  MAE3D_HD double bottom() const { return z - 0.5 * h; }
};

template <typename T> MAE3D_HD Box load_box(const T* p) {
  Box box{p[0], p[1], p[2], p[3], p[4], p[5], cos(static_cast<double>(p[6])), sin(static_cast<double>(p[6])), 0, true};
  for (int k = 0; k < kParameters; ++k) box.valid = box.valid && fabs(static_cast<double>(p[k])) <= kLargestValue;
  box.valid = box.valid && box.l > 0 && box.w > 0 && box.h > 0;
  box.radius = 0.5 * sqrt(box.l * box.l + box.w * box.w);
  return box;
}

// Whether the circles around both boxes meet; the margin is far above rounding.
MAE3D_HD bool circles_meet(double dx, double dy, double reach) {
  return dx * dx + dy * dy <= reach * reach * (1 + 1e-9);
}

struct Point {
  double x, y;
};

// Derivatives by x, y, l, w, yaw of one box.
struct Gradient {
  double x = 0, y = 0, l = 0, w = 0, yaw = 0;
};

// Box a in the frame of box b: centre and half axes.
struct Relative {
  Point centre, u, v;  // corners are centre +- u +- v

  MAE3D_HD Relative(const Box& a, const Box& b) {
    const double dx = a.x - b.x, dy = a.y - b.y;
    const double c = a.cosine * b.cosine + a.sine * b.sine, s = a.sine * b.cosine - a.cosine * b.sine;
    centre = {dx * b.cosine + dy * b.sine, dy * b.cosine - dx * b.sine};
    u = {0.5 * a.l * c, 0.5 * a.l * s};
    v = {-0.5 * a.w * s, 0.5 * a.w * c};
  }
  MAE3D_HD Point corner(int i) const {  // counter-clockwise; edge i runs from corner i to corner i + 1
    const double su = i == 1 || i == 2 ? 1 : -1, sv = i >= 2 ? 1 : -1;
    return {centre.x + su * u.x + sv * v.x, centre.y + su * u.y + sv * v.y};
  }
};

// A convex polygon in counter-clockwise order. Side i, from point i to the next, lies on edge `side[i]` of box a (0..3)
// or of box b (4..7). Rounding may add a few points to the eight that exact arithmetic allows.
struct Polygon {
  static constexpr int kCapacity = 24;
  Point point[kCapacity];
  int side[kCapacity];
  int count = 0;

  MAE3D_HD void add(Point p, int label) { point[count] = p, side[count++] = label; }
};

// Sutherland-Hodgman against sign * coordinate <= limit; the coordinate of crossings is exact.
MAE3D_HD void clip(const Polygon& in, bool along_y, double sign, double limit, int label, Polygon& out) {
  out.count = 0;
  for (int i = 0; i < in.count; ++i) {
    const Point p = in.point[i], q = in.point[i + 1 < in.count ? i + 1 : 0];
    const double inside_p = limit - sign * (along_y ? p.y : p.x), inside_q = limit - sign * (along_y ? q.y : q.x);
    if (inside_p >= 0) out.add(p, in.side[i]);
    if ((inside_p >= 0) == (inside_q >= 0)) continue;
    const double t = inside_p / (inside_p - inside_q);
    Point crossing{p.x + t * (q.x - p.x), p.y + t * (q.y - p.y)};
    (along_y ? crossing.y : crossing.x) = sign * limit;
    out.add(crossing, inside_p >= 0 ? label : in.side[i]);
  }
}

MAE3D_HD double area_of(const Polygon& polygon) {
  double twice = 0;
  for (int i = 1; i + 1 < polygon.count; ++i) {
    const Point o = polygon.point[0], p = polygon.point[i], q = polygon.point[i + 1];
    twice += (p.x - o.x) * (q.y - o.y) - (p.y - o.y) * (q.x - o.x);
  }
  return 0.5 * twice;
}

MAE3D_HD void rotate_to_world(const Box& b, Gradient& g) {
  const double x = g.x, y = g.y;
  g.x = x * b.cosine - y * b.sine;
  g.y = x * b.sine + y * b.cosine;
}

// The area changes by what each side of the polygon sweeps: its length times the outward speed of the box edge it
// lies on (Reynolds transport theorem).
MAE3D_HD void intersection_gradient(const Polygon& polygon, const Relative& a, const Box& b, Gradient& ga,
                                    Gradient& gb) {
  for (int i = 0; i < polygon.count; ++i) {
    const Point p = polygon.point[i], q = polygon.point[i + 1 < polygon.count ? i + 1 : 0];
    const Point normal{q.y - p.y, p.x - q.x};  // outward, as long as the side
    const double half = 0.5 * sqrt(normal.x * normal.x + normal.y * normal.y);
    const int side = polygon.side[i];
    const bool of_a = side < 4;
    Gradient& g = of_a ? ga : gb;
    const double arm_x = 0.5 * (p.x + q.x) - (of_a ? a.centre.x : 0), arm_y = 0.5 * (p.y + q.y) - (of_a ? a.centre.y : 0);
    g.x += normal.x;
    g.y += normal.y;
    g.yaw += normal.y * arm_x - normal.x * arm_y;
    const bool ends = of_a ? side % 2 == 1 : side < 6;  // front and back
    (ends ? g.l : g.w) += half;
  }
  rotate_to_world(b, ga);
  rotate_to_world(b, gb);
}

template <bool kGradient> MAE3D_HD double intersection(const Box& a, const Box& b, Gradient* ga, Gradient* gb) {
  const Relative relative(a, b);
  Polygon first, second;
  for (int i = 0; i < 4; ++i) first.add(relative.corner(i), i);
  clip(first, false, 1, 0.5 * b.l, 4, second);
  clip(second, false, -1, 0.5 * b.l, 5, first);
  clip(first, true, 1, 0.5 * b.w, 6, second);
  clip(second, true, -1, 0.5 * b.w, 7, first);
  const double area = area_of(first);
  if (!(area > 0)) return 0;
  if (kGradient) intersection_gradient(first, relative, b, *ga, *gb);
  return fmin(area, fmin(a.area(), b.area()));
}

// Corner i (0..3 of a, 4..7 of b) in the frame of b.
MAE3D_HD Point corner_of(const Relative& a, const Box& b, int i) {
  if (i < 4) return a.corner(i);
  return {0.5 * b.l * (i == 5 || i == 6 ? 1 : -1), 0.5 * b.w * (i >= 6 ? 1 : -1)};
}

// Moving a corner moves the hull's area; `force` is the derivative by the corner.
MAE3D_HD void corner_gradient(int i, Point corner, Point force, const Relative& a, const Box& box_a, Gradient& ga,
                              Gradient& gb) {
  const bool of_a = i < 4;
  const int k = i % 4;
  const double su = k == 1 || k == 2 ? 0.5 : -0.5, sv = k >= 2 ? 0.5 : -0.5;
  const Point u = of_a ? Point{a.u.x / (0.5 * box_a.l), a.u.y / (0.5 * box_a.l)} : Point{1, 0};
  const Point arm = of_a ? Point{corner.x - a.centre.x, corner.y - a.centre.y} : corner;
  Gradient& g = of_a ? ga : gb;
  g.x += force.x;
  g.y += force.y;
  g.l += su * (force.x * u.x + force.y * u.y);
  g.w += sv * (force.y * u.x - force.x * u.y);
  g.yaw += force.y * arm.x - force.x * arm.y;
}

MAE3D_HD double turn(Point o, Point p, Point q) { return (p.x - o.x) * (q.y - o.y) - (p.y - o.y) * (q.x - o.x); }

// Area of the convex hull of both boxes: Andrew's monotone chain over the eight corners.
template <bool kGradient> MAE3D_HD double hull(const Box& a, const Box& b, Gradient* ga, Gradient* gb) {
  const Relative relative(a, b);
  Point point[8];
  int name[8];
  for (int i = 0; i < 8; ++i) {  // insertion sort by x, then y
    const Point p = corner_of(relative, b, i);
    int at = i;
    for (; at > 0 && (point[at - 1].x > p.x || (point[at - 1].x == p.x && point[at - 1].y > p.y)); --at)
      point[at] = point[at - 1], name[at] = name[at - 1];
    point[at] = p, name[at] = i;
  }
  int chain[17], count = 0;
  for (int pass = 0; pass < 2; ++pass) {  // lower chain, then upper
    const int base = count;
    for (int step = 0; step < 8; ++step) {
      const int i = pass == 0 ? step : 7 - step;
      while (count >= base + 2 && turn(point[chain[count - 2]], point[chain[count - 1]], point[i]) <= 0) --count;
      chain[count++] = i;
    }
    --count;  // the last point begins the other chain
  }
  double twice = 0;
  for (int i = 1; i + 1 < count; ++i) twice += turn(point[chain[0]], point[chain[i]], point[chain[i + 1]]);
  if (kGradient) {
    for (int i = 0; i < count; ++i) {
      const Point before = point[chain[(i + count - 1) % count]], after = point[chain[(i + 1) % count]];
      const Point force{0.5 * (after.y - before.y), 0.5 * (before.x - after.x)};
      corner_gradient(name[chain[i]], point[chain[i]], force, relative, a, *ga, *gb);
    }
    rotate_to_world(b, *ga);
    rotate_to_world(b, *gb);
  }
  return 0.5 * twice;
}

}  // namespace mae3d::boxes
