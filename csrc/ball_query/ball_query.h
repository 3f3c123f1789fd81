// ball_query: at most k points strictly nearer than a radius to each query, in its own cloud.
//
// ball_query(points, queries, points_offsets, queries_offsets, radius, k, nearest, repeat_first)
//     -> (squared_distances, indices, counts)
//   points, queries, *_offsets, k   as in knn
//   radius            > 0; a point is inside when its squared distance < float32(radius) * float32(radius)
//   nearest           true: the k nearest, as knn orders them; false: the k of lowest index, in index order
//   repeat_first      empty places repeat the first neighbour, except where a query has none
//   indices           int64 [B, Q, k] or [R, k]; position in the cloud (dense) or row of points (packed), else -1
//   counts            int64 [B, Q] or [R], neighbours found, at most k
//   squared_distances float32, shape of indices, +inf in empty places
#pragma once

#include <cmath>
#include <limits>

namespace mae3d {

// The largest squared distance that is inside; negative where none is.
inline float ball_limit(double radius) {
  const float r = static_cast<float>(radius), square = r * r;
  if (!(square > 0)) return -1.0f;
  return std::nextafter(square, 0.0f);  // of infinity: the largest finite number
}

}  // namespace mae3d
