// ray_cast: ranges that a spinning sensor measures in a scene of simple solids above flat ground.
//
//   origins     float32 [A, 3]   sensor position while each column is fired, metres
//   azimuths    float32 [A]      heading of each column, radians counter-clockwise from +x
//   elevations  float32 [E]      beam angles above the horizon, radians, strictly between -pi/2 and pi/2
//   primitives  float32 [M, 8]   kind (0 box, 1 upright cylinder, 2 ellipsoid), centre x y z, full sizes x y z
//                                (a cylinder uses size x as its diameter), yaw (boxes and ellipsoids)
//   ground_z    height of the ground plane, NaN for none
//   max_range   metres; farther surfaces are not seen
//
//   ranges      float32 [A, E]   metres along the beam, +inf where nothing is hit
//   index       int64   [A, E]   primitive that is hit, -1 nothing, -2 ground
//   cosine      float32 [A, E]   cosine of the angle of incidence in [0, 1], 0 where nothing is hit
//
// All beams of a column lie in one vertical half-plane, so a solid becomes an interval of horizontal distance there;
// each beam then only needs its height over that interval. A solid that contains the sensor is not seen. A primitive
// with a value that is not finite or a size <= 0 is never hit. Of two surfaces at the same range the lower index wins,
// solids before the ground.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/checks.h"
#include "common/geometry.h"

namespace mae3d {

inline void check_ray_cast(const Tensor& origins, const Tensor& azimuths, const Tensor& elevations,
                           const Tensor& primitives) {
  const char* op = "ray_cast";
  check_dtype(origins, ScalarType::Float, op, "origins");
  check_dtype(azimuths, ScalarType::Float, op, "azimuths");
  check_dtype(elevations, ScalarType::Float, op, "elevations");
  check_dtype(primitives, ScalarType::Float, op, "primitives");
  check_dim(origins, 2, op, "origins");
  check_size(origins, 1, 3, op, "origins");
  check_dim(azimuths, 1, op, "azimuths");
  check_size(azimuths, 0, origins.size(0), op, "azimuths");
  check_dim(elevations, 1, op, "elevations");
  check_dim(primitives, 2, op, "primitives");
  check_size(primitives, 1, 8, op, "primitives");
  check_same_device(azimuths, origins, op, "azimuths");
  check_same_device(elevations, origins, op, "elevations");
  check_same_device(primitives, origins, op, "primitives");
}

constexpr int64_t kNothing = -1, kGround = -2;

// A solid cut by the half-plane of one column. Heights are relative to the sensor.
struct Slice {
  int kind;           // 0, 1: slab over [enter, leave] between bottom and top; 2: ellipse
  float enter, leave; // horizontal distances (slab) or centre and half-width (ellipse)
  float bottom, top;  // heights (slab) or centre height and half-height (ellipse)
  float side_cosine;  // slab: cosine of incidence on the vertical face, in the plane; ellipse: gradient across
  float lean, twist;  // ellipse: growth of the gradient along the heading and across it, per metre
  int64_t index;
};

struct Column {
  float x, y, z, cx, cy;  // sensor position, unit heading
};

// False where the column misses the solid altogether.
MAE3D_HD bool make_slice(const float* p, const Column& c, float max_range, int64_t index, Slice& s) {
  const float sx = p[4], sy = p[0] == 1.f ? p[4] : p[5], sz = p[6];
  const float rx = p[1] - c.x, ry = p[2] - c.y, rz = p[3] - c.z;
  // One comparison that is false for NaN, infinity and sizes <= 0.
  if (!(sx > 0.f && sy > 0.f && sz > 0.f && sx + sy + sz < 1e18f)) return false;
  if (!(rx * rx + ry * ry + rz * rz < 1e18f) || !(p[7] * p[7] < 1e18f)) return false;
  const float reach = 0.5f * sqrtf(sx * sx + sy * sy);
  const float along = rx * c.cx + ry * c.cy, across = rx * c.cy - ry * c.cx;
  if (fabsf(across) > reach || along + reach <= 0.f || along - reach > max_range) return false;
  s.index = index;
  s.kind = p[0] == 1.f ? 1 : p[0] == 2.f ? 2 : 0;
  if (s.kind == 1) {
    const float r = 0.5f * sx, half2 = r * r - across * across;
    if (half2 <= 0.f) return false;
    const float half = sqrtf(half2);
    s.enter = along - half, s.leave = along + half;
    s.bottom = rz - 0.5f * sz, s.top = rz + 0.5f * sz;
    s.side_cosine = half / r;
    return s.leave > 0.f;
  }
  const float yc = cosf(p[7]), ys = sinf(p[7]);
  const float ox = -(rx * yc + ry * ys), oy = rx * ys - ry * yc;       // sensor in the frame of the solid
  const float dx = c.cx * yc + c.cy * ys, dy = c.cy * yc - c.cx * ys;  // heading in the frame of the solid
  if (s.kind == 0) {
    const float hx = 0.5f * sx, hy = 0.5f * sy;
    float enter = -INFINITY, leave = INFINITY, cosine = 0.f;
    const float o[2] = {ox, oy}, d[2] = {dx, dy}, h[2] = {hx, hy};
    for (int k = 0; k < 2; ++k) {
      if (d[k] == 0.f) {
        if (fabsf(o[k]) > h[k]) return false;
        continue;
      }
      const float a = (-h[k] - o[k]) / d[k], b = (h[k] - o[k]) / d[k];
      const float near = fminf(a, b), far = fmaxf(a, b);
      if (near > enter) enter = near, cosine = fabsf(d[k]);
      leave = fminf(leave, far);
    }
    if (!(enter < leave) || leave <= 0.f) return false;
    s.enter = enter, s.leave = leave, s.side_cosine = cosine;
    s.bottom = rz - 0.5f * sz, s.top = rz + 0.5f * sz;
    return true;
  }
  // Ellipsoid: q(t) = |(o + t d) / semi-axes|^2 in the plane, an upright ellipse in (t, height).
  const float ax = 2.f / sx, ay = 2.f / sy;
  const float a = dx * dx * ax * ax + dy * dy * ay * ay;
  const float b = ox * dx * ax * ax + oy * dy * ay * ay;
  const float rest = 1.f - (ox * ox * ax * ax + oy * oy * ay * ay) + b * b / a;
  if (!(rest > 0.f)) return false;
  s.enter = -b / a, s.leave = sqrtf(rest / a);
  s.bottom = rz, s.top = 0.5f * sz * sqrtf(rest);
  s.lean = a;
  // The gradient's part across the column at the centre, and how it grows with distance.
  const float gx = (ox + s.enter * dx) * ax * ax, gy = (oy + s.enter * dy) * ay * ay;
  s.side_cosine = gx * dy - gy * dx;
  s.twist = dx * dy * (ax * ax - ay * ay);
  return s.enter + s.leave > 0.f;
}

struct Hit {
  float distance, cosine;  // horizontal distance (inf: none) and cosine of incidence
};

// Beam of slope tan(elevation) and cosine `level` against a slab.
MAE3D_HD Hit hit_slab(const Slice& s, float slope, float level) {
  float enter = s.enter, leave = s.leave, cosine = s.side_cosine * level;
  if (slope == 0.f) {
    if (s.bottom > 0.f || s.top < 0.f) return {INFINITY, 0.f};
  } else {
    const float a = s.bottom / slope, b = s.top / slope;
    const float near = fminf(a, b);
    leave = fminf(leave, fmaxf(a, b));
    cosine = near > enter ? fabsf(slope) * level : cosine;
    enter = fmaxf(enter, near);
  }
  return enter < leave && enter > 0.f ? Hit{enter, cosine} : Hit{INFINITY, 0.f};
}

// Beam against the ellipse ((t - enter) / leave)^2 + ((slope t - bottom) / top)^2 = 1.
MAE3D_HD Hit hit_ellipse(const Slice& s, float slope, float level) {
  const float u = 1.f / s.leave, v = 1.f / s.top;
  const float a = u * u + slope * slope * v * v;
  const float b = s.enter * u * u + slope * s.bottom * v * v;
  const float c = s.enter * s.enter * u * u + s.bottom * s.bottom * v * v - 1.f;
  const float root2 = b * b - a * c;
  if (!(root2 > 0.f) || !(c > 0.f)) return {INFINITY, 0.f};  // missed, or the sensor is inside
  const float t = (b - sqrtf(root2)) / a;
  if (!(t > 0.f)) return {INFINITY, 0.f};
  // Gradient of the ellipsoid along the heading, across the column and upwards.
  const float rest = s.lean * s.leave * s.leave;
  const float forward = (t - s.enter) * s.lean, up = (slope * t - s.bottom) * rest * v * v;
  const float across = s.side_cosine + (t - s.enter) * s.twist;
  const float length = sqrtf(forward * forward + across * across + up * up);
  return {t, fminf(fabsf(forward * level + up * slope * level) / length, 1.f)};
}

}  // namespace mae3d
