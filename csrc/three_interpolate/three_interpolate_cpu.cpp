#include "three_interpolate.h"

#include <algorithm>

#include "common/parallel.h"
#include "common/simd.h"

namespace mae3d {
namespace {

MAE3D_SIMD void add_scaled(float* to, const float* from, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += scale * from[i];
}
template <typename To, typename From> void add_scaled(To* to, const From* from, To scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += scale * static_cast<To>(from[i]);
}

template <typename Acc, typename T> Acc dot(const T* a, const T* b, int64_t n) {
  Acc lane[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; ++l) lane[l] += static_cast<Acc>(a[i + l]) * static_cast<Acc>(b[i + l]);
  for (; i < n; ++i) lane[0] += static_cast<Acc>(a[i]) * static_cast<Acc>(b[i]);
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

// Row of the flattened features that entry `entry` of the flattened indices refers to, or -1.
int64_t row_of(const int64_t* indices, int64_t entry, const InterpolationSizes& s, const char* op) {
  const int64_t i = indices[entry];
  MAE3D_CHECK(i < s.rows, op, ": 'indices' entry ", entry, " is ", i, ", but there are only ", s.rows, " feature rows");
  return i < 0 ? -1 : entry / (s.queries * s.neighbours) * s.rows + i;
}

Tensor three_interpolate(const Tensor& features, const Tensor& indices, const Tensor& weights) {
  const char* op = "three_interpolate";
  const InterpolationSizes s = check_sizes(features, indices, weights, op);
  const Tensor f = as_contiguous(features), ids = as_contiguous(indices), w = as_contiguous(weights);
  std::vector<int64_t> shape{s.queries, s.channels};
  if (features.dim() == 3) shape.insert(shape.begin(), s.batch);
  Tensor out = make_empty(features, shape, features.scalar_type());
  dispatch_float(features, op, "features", [&](auto value) {
    using T = decltype(value);
    using Acc = Accumulator<T>;
    const T* from = cdata<T>(f);
    T* to = mdata<T>(out);
    const int64_t* index = cdata<int64_t>(ids);
    const Acc* weight = cdata<Acc>(w);
    parallel_for(0, s.batch * s.queries, 64, [&](int64_t begin, int64_t end) {
      std::vector<Acc> row(s.channels);
      for (int64_t q = begin; q < end; ++q) {
        std::fill(row.begin(), row.end(), Acc{0});
        for (int64_t e = q * s.neighbours; e < (q + 1) * s.neighbours; ++e) {
          const int64_t r = row_of(index, e, s, op);
          if (r >= 0) add_scaled(row.data(), from + r * s.channels, weight[e], s.channels);
        }
        for (int64_t c = 0; c < s.channels; ++c) to[q * s.channels + c] = static_cast<T>(row[c]);
      }
    });
  });
  return out;
}

// Channels [low, high) of the gradient of one cloud's features.
template <typename T, typename Acc>
void feature_gradient(const T* grad, const int64_t* index, const Acc* weight, T* out, int64_t cloud, int64_t low,
                      int64_t high, const InterpolationSizes& s, const char* op) {
  const int64_t width = high - low, per_cloud = s.queries * s.neighbours;
  std::vector<Acc> sums(s.rows * width);
  for (int64_t e = cloud * per_cloud; e < (cloud + 1) * per_cloud; ++e) {
    const int64_t r = row_of(index, e, s, op);
    if (r < 0) continue;
    const int64_t q = e / s.neighbours;
    add_scaled(sums.data() + (r - cloud * s.rows) * width, grad + q * s.channels + low, weight[e], width);
  }
  for (int64_t r = 0; r < s.rows; ++r)
    for (int64_t c = 0; c < width; ++c)
      out[(cloud * s.rows + r) * s.channels + low + c] = static_cast<T>(sums[r * width + c]);
}

std::tuple<Tensor, Tensor> three_interpolate_backward(const Tensor& grad, const Tensor& features,
                                                      const Tensor& indices, const Tensor& weights) {
  const char* op = "three_interpolate_backward";
  const InterpolationSizes s = check_sizes(features, indices, weights, op);
  check_dtype(grad, features.scalar_type(), op, "grad");
  MAE3D_CHECK(grad.numel() == s.batch * s.queries * s.channels, op, ": 'grad' does not have the shape of the result");
  const Tensor g = as_contiguous(grad), f = as_contiguous(features), ids = as_contiguous(indices),
               w = as_contiguous(weights);
  Tensor grad_features = torch::stable::new_empty(f, f.sizes(), f.scalar_type());
  Tensor grad_weights = torch::stable::new_empty(w, w.sizes(), w.scalar_type());
  dispatch_float(features, op, "features", [&](auto value) {
    using T = decltype(value);
    using Acc = Accumulator<T>;
    const T *pull = cdata<T>(g), *from = cdata<T>(f);
    const int64_t* index = cdata<int64_t>(ids);
    parallel_for(0, s.batch * s.queries * s.neighbours, 256, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        const int64_t r = row_of(index, e, s, op);
        mdata<Acc>(grad_weights)[e] =
            r < 0 ? Acc{0} : dot<Acc>(pull + e / s.neighbours * s.channels, from + r * s.channels, s.channels);
      }
    });
    const int64_t slices = std::clamp<int64_t>(s.channels / 32, 1, std::max<int64_t>(1, 2 * num_threads()));
    parallel_tasks(s.batch * slices, [&](int64_t task) {
      const int64_t slice = task % slices;
      feature_gradient(pull, index, cdata<Acc>(w), mdata<T>(grad_features), task / slices,
                       s.channels * slice / slices, s.channels * (slice + 1) / slices, s, op);
    });
  });
  return {grad_features, grad_weights};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("three_interpolate", TORCH_BOX(&three_interpolate));
  m.impl("three_interpolate_backward", TORCH_BOX(&three_interpolate_backward));
}

}  // namespace mae3d
