// Radial masking of voxels (R-MAE, arXiv 2406.07833): angular sectors, range bands, and the choice among them.
//
// radial_groups(coordinates int64 [V, 4] (cloud, z, y, x), scale (x, y), origin (x, y), from_y, sector_degrees,
//               bands (near, middle), clouds, shared) -> (groups int64 [V], counts int64 [clouds * S * 3])
//   position  p = index * scale + origin per axis, in float64 without fused multiply-add
//   angle     atan2(p_y, p_x), or with from_y atan2(p_x, p_y), in degrees in [0, 360). A direction within 1e-9
//             degrees below a sector's boundary counts as on it, so that rounding never moves a voxel that lies on one
//   sector    floor(angle / sector_degrees), S = ceil(360 / sector_degrees) sectors
//   band      0 where |p| <= near, 1 where |p| <= middle, else 2
//   groups    (cloud * S + sector) * 3 + band; shared: clouds are not told apart (cloud = 0, counts [S * 3])
//   counts    voxels per group
//   A cloud outside [0, clouds) is an error on the CPU; CUDA, which does not synchronise, gives such a voxel group -1.
//
// radial_select(groups int64 [V], quota int64 [G], scores float32 [V] or [0]) -> (visible int64 [K], masked int64 [M])
//   Of each group the quota[group] voxels with the lowest (score, row) are visible. Without scores a group is visible
//   whole where its quota is positive. Voxels whose group is outside [0, G) are masked. Both results ascend.
//   V < 2^31; NaN scores come last. The CUDA kernel reads K back, its only synchronisation.
#pragma once

#include <cmath>
#include <cstring>

#include "../common/checks.h"
#include "../common/geometry.h"

namespace mae3d {

constexpr double kOnBoundary = 1e-9;  // degrees

struct RadialGeometry {
  double scale[2], origin[2], near_squared, middle_squared, sector_degrees;
  int64_t sectors, clouds;
  bool from_y, shared;
};

inline RadialGeometry check_radial_arguments(const Tensor& coordinates, const std::vector<double>& scale,
                                             const std::vector<double>& origin, bool from_y, double sector_degrees,
                                             const std::vector<double>& bands, int64_t clouds, bool shared) {
  const char* op = "radial_groups";
  check_dtype(coordinates, ScalarType::Long, op, "coordinates");
  check_dim(coordinates, 2, op, "coordinates");
  check_size(coordinates, 1, 4, op, "coordinates");
  MAE3D_CHECK(scale.size() == 2 && origin.size() == 2 && bands.size() == 2, op,
              ": 'scale', 'origin' and 'bands' must have 2 entries");
  for (int a = 0; a < 2; ++a)
    MAE3D_CHECK(std::isfinite(scale[a]) && std::isfinite(origin[a]), op, ": 'scale' and 'origin' must be finite");
  MAE3D_CHECK(sector_degrees >= 1e-3 && sector_degrees <= 360, op, ": 'sector_degrees' must be in [0.001, 360], got ",
              sector_degrees);
  MAE3D_CHECK(clouds >= 0 && clouds < 100000, op, ": 'clouds' must be in [0, 100000), got ", clouds);
  RadialGeometry g;
  for (int a = 0; a < 2; ++a) g.scale[a] = scale[a], g.origin[a] = origin[a];
  g.near_squared = bands[0] < 0 ? -1 : bands[0] * bands[0];
  g.middle_squared = bands[1] < 0 ? -1 : bands[1] * bands[1];
  g.sector_degrees = sector_degrees;
  g.sectors = static_cast<int64_t>(std::ceil(360.0 / sector_degrees));
  g.clouds = clouds;
  g.from_y = from_y;
  g.shared = shared;
  return g;
}

inline void check_select_arguments(const Tensor& groups, const Tensor& quota, const Tensor& scores) {
  const char* op = "radial_select";
  check_dtype(groups, ScalarType::Long, op, "groups");
  check_dim(groups, 1, op, "groups");
  check_dtype(quota, ScalarType::Long, op, "quota");
  check_dim(quota, 1, op, "quota");
  check_dtype(scores, ScalarType::Float, op, "scores");
  check_dim(scores, 1, op, "scores");
  if (scores.size(0) != 0) check_size(scores, 0, groups.size(0), op, "scores");
  check_same_device(groups, quota, op, "quota");
  check_same_device(groups, scores, op, "scores");
  constexpr int64_t kMax = int64_t{1} << 31;
  MAE3D_CHECK(groups.size(0) < kMax && quota.size(0) < kMax, op, ": 'groups' and 'quota' must be shorter than 2^31");
}

// Position along one axis, with the same rounding on every device.
MAE3D_HD double radial_position(int64_t index, double scale, double origin) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(__dmul_rn(static_cast<double>(index), scale), origin);
#else
  return static_cast<double>(index) * scale + origin;  // compiled with -ffp-contract=off
#endif
}

MAE3D_HD double squared_norm(double x, double y) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(__dmul_rn(x, x), __dmul_rn(y, y));
#else
  return x * x + y * y;
#endif
}

// sector * 3 + band, a whole number, from an angle in degrees (-180 .. 180) and a squared distance.
MAE3D_HD double radial_cell(double degrees, double squared, const RadialGeometry& g) {
  const double positive = (degrees < 0 ? degrees + 360.0 : degrees) + kOnBoundary;
  const double turned = positive >= 360.0 ? positive - 360.0 : positive;
  const double sector = floor(turned / g.sector_degrees), last = static_cast<double>(g.sectors - 1);
  const double band = squared <= g.near_squared ? 0.0 : squared <= g.middle_squared ? 1.0 : 2.0;
  return (sector < last ? sector : last) * 3.0 + band;
}

// Unsigned number in the order of the floats, NaN with a clear sign bit last.
MAE3D_HD uint32_t ordered_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

}  // namespace mae3d
