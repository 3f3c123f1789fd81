#include "ball_query.h"
#include "common/clouds.h"
#include "knn/knn.h"
#include "knn/search.h"

namespace mae3d {
namespace {

std::tuple<Tensor, Tensor, Tensor> ball_query(const Tensor& points, const Tensor& queries,
                                              const OptionalTensor& points_offsets,
                                              const OptionalTensor& queries_offsets, double radius, int64_t k,
                                              bool nearest, bool repeat_first) {
  MAE3D_CHECK(k >= 1 && k <= kMaxNeighbours, "ball_query: 'k' must be in [1, ", kMaxNeighbours, "], got ", k);
  MAE3D_CHECK(radius > 0, "ball_query: 'radius' must be positive, got ", radius);
  const CloudPair pair(points, queries, points_offsets, queries_offsets, "ball_query");
  Tensor indices = make_empty(queries, pair.result_shape(k), ScalarType::Long);
  Tensor counts = make_empty(queries, pair.result_shape(std::nullopt), ScalarType::Long);
  Tensor distances = make_empty(queries, pair.result_shape(k), ScalarType::Float);
  search_neighbours(pair, k, ball_limit(radius), !nearest,
                    {mdata<int64_t>(indices), mdata<float>(distances), mdata<int64_t>(counts), repeat_first},
                    "ball_query");
  return {distances, indices, counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) { m.impl("ball_query", TORCH_BOX(&ball_query)); }

}  // namespace mae3d
