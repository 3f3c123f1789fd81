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
                                        const Tensor& indices, const OptionalTensor&, const OptionalTensor&) {
  const char* op = "knn_backward";
  check_dtype(grad, ScalarType::Float, op, "grad");
  check_dtype(indices, ScalarType::Long, op, "indices");
  const Tensor g = as_contiguous(grad), p = as_contiguous(points), q = as_contiguous(queries),
               i = as_contiguous(indices);
  const Clouds pc = p.dim() == 3 ? view_clouds(p, std::nullopt, op, "points") : Clouds{cdata<float>(p), nullptr, 1, p.size(0)};
  check_dtype(p, ScalarType::Float, op, "points");
  check_dtype(q, ScalarType::Float, op, "queries");
  check_size(p, p.dim() - 1, 3, op, "points");
  MAE3D_CHECK(q.dim() == p.dim() && i.dim() == q.dim(), op, ": 'indices' and 'queries' must have ", p.dim(),
              " dimensions");
  const int64_t batch = pc.batch, rows = q.size(q.dim() - 2), k = i.size(i.dim() - 1);
  MAE3D_CHECK(q.numel() == batch * rows * 3 && i.numel() == batch * rows * k && g.numel() == i.numel(), op,
              ": 'grad', 'indices' and 'queries' do not fit each other");
  Tensor grad_points = torch::stable::new_zeros(p, p.sizes(), ScalarType::Float);
  Tensor grad_queries = torch::stable::new_empty(q, q.sizes(), ScalarType::Float);
  // Few clouds: several threads share one, each summing its own range of points in the same order.
  const int64_t parts = std::max<int64_t>(1, num_threads() / std::max<int64_t>(1, batch));
  parallel_tasks(batch * (parts + 1), [&](int64_t task) {
    const int64_t b = task / (parts + 1), part = task % (parts + 1);
    const Pull pull{cdata<float>(g) + b * rows * k, cdata<float>(p) + b * pc.each * 3, cdata<float>(q) + b * rows * 3,
                    cdata<int64_t>(i) + b * rows * k, k};
    if (part == parts) {
      pull.run(0, rows, 0, pc.each, nullptr, mdata<float>(grad_queries) + b * rows * 3);
    } else {
      pull.run(0, rows, pc.each * part / parts, pc.each * (part + 1) / parts, mdata<float>(grad_points) + b * pc.each * 3, nullptr);
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
