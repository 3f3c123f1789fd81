// Farthest point sampling: start somewhere, then again and again take the point that is farthest from all points
// taken so far (Eldar et al. 1997; PointNet++, Qi et al. 2017, sec. 3.2).
//
// furthest_point_sample(points, num_samples, start, skip_squared_norm) -> indices
//   points             [B, N, 3] float32
//   num_samples        S >= 0; more than N only with the skip on (then, and only then, picks must repeat anyway)
//   start              [B] int64, 0 <= start < N: the first pick of every cloud
//   skip_squared_norm  points with x^2 + y^2 + z^2 <= this are no candidates; negative: off
//   indices            [B, S] int64, rows of the cloud
//
// furthest_point_sample_packed(points, offsets, sample_offsets, total_samples, start, skip_squared_norm) -> indices
//   points             [T, 3] float32, cloud b = rows offsets[b] .. offsets[b + 1]
//   offsets            [B + 1] int64
//   sample_offsets     [B + 1] int64: the picks of cloud b are entries sample_offsets[b] .. sample_offsets[b + 1]
//   total_samples      sample_offsets[B], known without reading the tensor
//   start              [B] int64, row inside the cloud; ignored where nothing is picked
//   indices            [total_samples] int64, global rows
//
// What is picked, on every device and in every form, to the bit:
//   * The distance of a candidate is the minimum of squared_distance() (float32, no fused multiply-add) to the
//     picks so far; the largest wins, ties go to the lowest index. Coincident points therefore repeat an index
//     once nothing but copies of picked points is left.
//   * Points with a NaN or infinite coordinate, and those that the skip leaves out, are no candidates: they are
//     never picked, except as start. A start that is NaN or infinite has no influence on the next pick.
//   * Where no candidate exists, start is picked again.
// On CUDA, offsets and start are not read by the host: a bad offset or start is clamped into range, a cloud
// without points that shall give samples gives -1.
#pragma once

#include <cmath>
#include <limits>

#include "../common/checks.h"
#include "../common/geometry.h"

namespace mae3d::fps {

constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max() - 512;  // points of a cloud: rows in 32 bits

// The largest float that is <= threshold, so that a float norm compares as it would in double.
inline float float_at_most(double threshold) {
  const float rounded = static_cast<float>(threshold);
  if (static_cast<double>(rounded) <= threshold) return rounded;
  return std::nextafter(rounded, -std::numeric_limits<float>::infinity());
}

MAE3D_HD bool is_candidate(float x, float y, float z, float skip) {
  const bool finite = x - x == 0.0f && y - y == 0.0f && z - z == 0.0f;
  return finite && !(squared_distance(x, y, z, 0.0f, 0.0f, 0.0f) <= skip);
}

// `count` points of one cloud against the `samples` > 0 asked of it.
inline void check_count(int64_t count, int64_t samples, double skip, const char* op) {
  MAE3D_CHECK(count <= kMaxCount, op, ": a cloud of 'points' has ", count,
              " points, more than 32-bit rows can name");
  MAE3D_CHECK(samples <= count || (skip >= 0 && count > 0), op, ": 'num_samples' is ", samples,
              ", but a cloud has only ", count, " points");
}

inline void check_dense(const Tensor& points, int64_t num_samples, const Tensor& start, double skip) {
  constexpr const char* op = "furthest_point_sample";
  check_dtype(points, ScalarType::Float, op, "points");
  check_dim(points, 3, op, "points");
  check_size(points, 2, 3, op, "points");
  check_dtype(start, ScalarType::Long, op, "start");
  check_dim(start, 1, op, "start");
  check_size(start, 0, points.size(0), op, "start");
  check_same_device(points, start, op, "start");
  MAE3D_CHECK(num_samples >= 0, op, ": 'num_samples' must be >= 0, got ", num_samples);
  if (num_samples > 0 && points.size(0) > 0) check_count(points.size(1), num_samples, skip, op);
}

inline void check_packed(const Tensor& points, const Tensor& offsets, const Tensor& sample_offsets,
                         int64_t total_samples, const Tensor& start) {
  constexpr const char* op = "furthest_point_sample_packed";
  check_dtype(points, ScalarType::Float, op, "points");
  check_dim(points, 2, op, "points");
  check_size(points, 1, 3, op, "points");
  MAE3D_CHECK(total_samples >= 0, op, ": 'total_samples' must be >= 0, got ", total_samples);
  check_offsets(offsets, points.size(0), op, "offsets");
  check_offsets(sample_offsets, total_samples, op, "sample_offsets");
  check_size(sample_offsets, 0, offsets.size(0), op, "sample_offsets");
  check_dtype(start, ScalarType::Long, op, "start");
  check_dim(start, 1, op, "start");
  check_size(start, 0, offsets.size(0) - 1, op, "start");
  check_same_device(points, offsets, op, "offsets");
  check_same_device(points, sample_offsets, op, "sample_offsets");
  check_same_device(points, start, op, "start");
}

}  // namespace mae3d::fps
