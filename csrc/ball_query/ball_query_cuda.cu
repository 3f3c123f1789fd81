#include "../knn/knn.h"
#include "../knn/indexed_search.cuh"
#include "ball_query.h"

namespace mae3d {
namespace {

std::tuple<Tensor, Tensor, Tensor> ball_query(const Tensor& points, const Tensor& queries,
                                              const OptionalTensor& points_offsets,
                                              const OptionalTensor& queries_offsets, double radius, int64_t k,
                                              bool nearest, bool repeat_first) {
  const char* op = "ball_query";
  MAE3D_CHECK(k >= 1 && k <= kMaxNeighbours, "ball_query: 'k' must be in [1, ", kMaxNeighbours, "], got ", k);
  MAE3D_CHECK(radius > 0, "ball_query: 'radius' must be positive, got ", radius);
  const CudaScope scope(points);
  const CloudPair pair(points, queries, points_offsets, queries_offsets, op);
  Tensor distances = make_empty(queries, pair.result_shape(k), ScalarType::Float);
  Tensor indices = make_empty(queries, pair.result_shape(k), ScalarType::Long);
  Tensor counts = make_empty(queries, pair.result_shape(std::nullopt), ScalarType::Long);
  DeviceSearch search = make_device_search(pair, k, ball_limit(radius));
  search.repeat_first = repeat_first;
  search.indices = mdata<int64_t>(indices), search.distances = mdata<float>(distances);
  search.counts = mdata<int64_t>(counts);
  if (nearest) {
    launch_search<false>(search, points, scope.stream, op);
  } else {
    launch_search<true>(search, points, scope.stream, op);
  }
  return {distances, indices, counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) { m.impl("ball_query", TORCH_BOX(&ball_query)); }

}  // namespace mae3d
