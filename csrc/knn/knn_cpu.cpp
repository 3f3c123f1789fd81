#include "common/clouds.h"
#include "common/geometry.h"
#include "common/parallel.h"
#include "knn.h"
#include "search.h"

#include <limits>

namespace mae3d {
namespace {

std::tuple<Tensor, Tensor> knn(const Tensor& points, const Tensor& queries, const OptionalTensor& points_offsets,
                               const OptionalTensor& queries_offsets, int64_t k) {
  MAE3D_CHECK(k >= 1 && k <= kMaxNeighbours, "knn: 'k' must be in [1, ", kMaxNeighbours, "], got ", k);
  const CloudPair pair(points, queries, points_offsets, queries_offsets, "knn");
  Tensor distances = make_empty(queries, pair.result_shape(k), ScalarType::Float);
  Tensor indices = make_empty(queries, pair.result_shape(k), ScalarType::Long);
  search_neighbours(pair, k, std::numeric_limits<float>::max(), false,
                    {mdata<int64_t>(indices), mdata<float>(distances), nullptr, false}, "knn");
  return {distances, indices};
}

struct Pull {
  const float *grad, *points, *queries;
  const int64_t* indices;
  int64_t k;
  // Adds to the gradients of the queries [begin, end), and of the points in [low, high).
  void run(int64_t begin, int64_t end, int64_t low, int64_t high, float* grad_points, float* grad_queries) const {
    for (int64_t r = begin; r < end; ++r) {
      float sum[3] = {0, 0, 0};
      for (int64_t j = r * k; j < (r + 1) * k; ++j) {
        const int64_t i = indices[j];
        if (i < low || i >= high) continue;
        for (int a = 0; a < 3; ++a) {
          const float g = 2 * grad[j] * (queries[3 * r + a] - points[3 * i + a]);
          sum[a] += g;
          if (grad_points) grad_points[3 * i + a] -= g;
        }
      }
      if (grad_queries)
        for (int a = 0; a < 3; ++a) grad_queries[3 * r + a] = sum[a];
    }
  }
};

std::tuple<Tensor, Tensor> knn_backward(const Tensor& grad, const Tensor& points, const Tensor& queries,
                                        const Tensor& indices) {
  const char* op = "knn_backward";
  const PullSizes s = check_pull(grad, points, queries, indices, op);
  const Tensor g = as_contiguous(grad), p = as_contiguous(points), q = as_contiguous(queries),
               i = as_contiguous(indices);
  Tensor grad_points = torch::stable::new_zeros(p, p.sizes(), ScalarType::Float);
  Tensor grad_queries = torch::stable::new_empty(q, q.sizes(), ScalarType::Float);
  // Few clouds: several threads share one, each summing its own range of points in the same order.
  const int64_t parts = std::max<int64_t>(1, num_threads() / std::max<int64_t>(1, s.batch));
  parallel_tasks(s.batch * (parts + 1), [&](int64_t task) {
    const int64_t b = task / (parts + 1), part = task % (parts + 1);
    const Pull pull{cdata<float>(g) + b * s.queries * s.k, cdata<float>(p) + b * s.points * 3,
                    cdata<float>(q) + b * s.queries * 3, cdata<int64_t>(i) + b * s.queries * s.k, s.k};
    if (part == parts) {
      pull.run(0, s.queries, 0, s.points, nullptr, mdata<float>(grad_queries) + b * s.queries * 3);
    } else {
      pull.run(0, s.queries, s.points * part / parts, s.points * (part + 1) / parts,
               mdata<float>(grad_points) + b * s.points * 3, nullptr);
    }
  });
  return {grad_points, grad_queries};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("knn", TORCH_BOX(&knn));
  m.impl("knn_backward", TORCH_BOX(&knn_backward));
}

}  // namespace mae3d
