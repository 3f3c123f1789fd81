#include <limits>

#include "../common/sorted_groups.cuh"
#include "knn.h"
#include "indexed_search.cuh"

namespace mae3d {
namespace {

std::tuple<Tensor, Tensor> knn(const Tensor& points, const Tensor& queries, const OptionalTensor& points_offsets,
                               const OptionalTensor& queries_offsets, int64_t k) {
  const char* op = "knn";
  MAE3D_CHECK(k >= 1 && k <= kMaxNeighbours, "knn: 'k' must be in [1, ", kMaxNeighbours, "], got ", k);
  const CudaScope scope(points);
  const CloudPair pair(points, queries, points_offsets, queries_offsets, op);
  Tensor distances = make_empty(queries, pair.result_shape(k), ScalarType::Float);
  Tensor indices = make_empty(queries, pair.result_shape(k), ScalarType::Long);
  DeviceSearch search = make_device_search(pair, k, std::numeric_limits<float>::max());
  search.indices = mdata<int64_t>(indices), search.distances = mdata<float>(distances);
  launch_search<false>(search, points, scope.stream, op);
  return {distances, indices};
}

// Entries of the indices as rows of all points; -1 and indices outside become `point_rows`.
__global__ void row_keys(const int64_t* indices, int64_t entries, int64_t per_cloud, int64_t points_each,
                         int64_t point_rows, int64_t* keys) {
  MAE3D_GRID_STRIDE(e, entries) {
    const int64_t i = indices[e];
    keys[e] = i >= 0 && i < points_each ? e / per_cloud * points_each + i : point_rows;
  }
}

struct Pull {
  const float *grad, *points, *queries;
  int64_t k;
  __device__ float operator()(int64_t entry, int64_t point, int axis) const {
    return 2 * grad[entry] * (queries[3 * (entry / k) + axis] - points[3 * point + axis]);
  }
};

__global__ void query_gradient(Pull pull, const int64_t* keys, int64_t point_rows, int64_t query_rows, float* out) {
  MAE3D_GRID_STRIDE(t, query_rows * 3) {
    const int64_t row = t / 3;
    const int axis = static_cast<int>(t % 3);
    float sum = 0;
    for (int64_t e = row * pull.k; e < (row + 1) * pull.k; ++e)
      if (keys[e] < point_rows) sum += pull(e, keys[e], axis);
    out[t] = sum;
  }
}

__device__ int64_t lower_bound(const int64_t* keys, int64_t count, int64_t value) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

// One thread per coordinate sums the entries of its point in their order.
__global__ void point_gradient(Pull pull, const int64_t* sorted, const int32_t* order, int64_t entries,
                               int64_t point_rows, float* out) {
  MAE3D_GRID_STRIDE(t, point_rows * 3) {
    const int64_t point = t / 3;
    const int axis = static_cast<int>(t % 3);
    float sum = 0;
    for (int64_t j = lower_bound(sorted, entries, point); j < entries && sorted[j] == point; ++j)
      sum -= pull(order[j], point, axis);
    out[t] = sum;
  }
}

std::tuple<Tensor, Tensor> knn_backward(const Tensor& grad, const Tensor& points, const Tensor& queries,
                                        const Tensor& indices) {
  const char* op = "knn_backward";
  const PullSizes s = check_pull(grad, points, queries, indices, op);
  const CudaScope scope(points);
  const Tensor g = as_contiguous(grad), p = as_contiguous(points), q = as_contiguous(queries),
               i = as_contiguous(indices);
  Tensor grad_points = make_empty(p, {p.numel()}, ScalarType::Float);
  Tensor grad_queries = make_empty(q, {q.numel()}, ScalarType::Float);
  const int64_t point_rows = s.batch * s.points, query_rows = s.batch * s.queries, entries = query_rows * s.k;
  MAE3D_CHECK(entries < (int64_t{1} << 31), op, ": too many neighbours for one call: ", entries);
  const Tensor keys = make_empty(p, {entries}, ScalarType::Long);
  const Pull pull{cdata<float>(g), cdata<float>(p), cdata<float>(q), s.k};
  constexpr int kThreads = 256;
  if (entries > 0) {
    row_keys<<<grid_for(entries, kThreads), kThreads, 0, scope.stream>>>(
        cdata<int64_t>(i), entries, s.queries * s.k, s.points, point_rows, mdata<int64_t>(keys));
    query_gradient<<<grid_for(query_rows * 3, kThreads), kThreads, 0, scope.stream>>>(
        pull, cdata<int64_t>(keys), point_rows, query_rows, mdata<float>(grad_queries));
  }
  const SortedRows sorted = sort_rows(keys, bits_for(point_rows), scope.stream, op);
  if (point_rows > 0)
    point_gradient<<<grid_for(point_rows * 3, kThreads), kThreads, 0, scope.stream>>>(
        pull, cdata<int64_t>(sorted.keys), cdata<int32_t>(sorted.rows), entries, point_rows,
        mdata<float>(grad_points));
  check_cuda(cudaGetLastError(), op);
  return {torch::stable::view(grad_points, p.sizes()), torch::stable::view(grad_queries, q.sizes())};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("knn", TORCH_BOX(&knn));
  m.impl("knn_backward", TORCH_BOX(&knn_backward));
}

}  // namespace mae3d
