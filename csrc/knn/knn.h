// knn: the k nearest points of each query, in its own cloud.
//
// knn(points, queries, points_offsets, queries_offsets, k) -> (squared_distances, indices)
//   points            float32 [B, N, 3], or packed [T, 3] with points_offsets
//   queries           float32 [B, Q, 3], or packed [R, 3] with queries_offsets
//   *_offsets         int64 [B + 1], first row of each cloud; both or neither
//   k                 1 <= k <= 128
//   squared_distances float32 [B, Q, k] or [R, k], ascending, (dx*dx + dy*dy) + dz*dz without fused multiply-add;
//                     +inf where there are fewer than k neighbours
//   indices           int64, same shape; position in the cloud (dense) or row of points (packed), -1 where there are
//                     fewer than k; equal distances come by rising index
// A pair whose squared distance is not finite is no pair: non-finite points are never neighbours, non-finite queries
// have none.
//
// knn_backward(grad, points, queries, indices, order, starts) -> (grad_points, grad_queries)
//   grad              float32, shape of indices: gradient of squared_distances; ignored where the index is -1
//   order, starts     CUDA only: int64 [R * k], [T + 1], entries of `indices` that refer to each row of the points
//                     (dense clouds one after the other), in rising order
// Sums run in the order of the entries, so results do not depend on the number of threads.
#pragma once

namespace mae3d {

constexpr int64_t kMaxNeighbours = 128;

}  // namespace mae3d
