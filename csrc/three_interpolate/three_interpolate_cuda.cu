#include "../common/sorted_groups.cuh"
#include "three_interpolate.h"

namespace mae3d {
namespace {

constexpr int kThreads = 256;

// Entries of the indices as rows of all features; -1 and indices outside become `feature_rows`.
__global__ void feature_row_keys(const int64_t* indices, int64_t entries, int64_t per_cloud, int64_t rows,
                                 int64_t feature_rows, int64_t* keys) {
  MAE3D_GRID_STRIDE(e, entries) {
    const int64_t i = indices[e];
    keys[e] = i >= 0 && i < rows ? e / per_cloud * rows + i : feature_rows;
  }
}

template <typename T>
__global__ void interpolate(const T* features, const int64_t* indices, const Accumulator<T>* weights,
                            InterpolationSizes s, T* out) {
  MAE3D_GRID_STRIDE(t, s.batch * s.queries * s.channels) {
    const int64_t query = t / s.channels, c = t % s.channels, cloud = query / s.queries;
    Accumulator<T> sum = 0;
    for (int64_t e = query * s.neighbours; e < (query + 1) * s.neighbours; ++e) {
      const int64_t i = indices[e];
      if (i >= 0 && i < s.rows)
        sum += weights[e] * static_cast<Accumulator<T>>(features[(cloud * s.rows + i) * s.channels + c]);
    }
    out[t] = static_cast<T>(sum);
  }
}

// One warp per entry: the product of the result's gradient and the entry's feature row.
template <typename T>
__global__ void weight_gradient(const T* grad, const T* features, const int64_t* keys, InterpolationSizes s,
                                Accumulator<T>* out) {
  const int64_t entries = s.batch * s.queries * s.neighbours, feature_rows = s.batch * s.rows;
  const int lane = threadIdx.x % 32;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kThreads / 32);
  for (int64_t e = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32; e < entries; e += step) {
    Accumulator<T> sum = 0;
    if (keys[e] < feature_rows)
      for (int64_t c = lane; c < s.channels; c += 32)
        sum += static_cast<Accumulator<T>>(grad[e / s.neighbours * s.channels + c]) *
               static_cast<Accumulator<T>>(features[keys[e] * s.channels + c]);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (lane == 0) out[e] = sum;
  }
}

// One thread per feature value sums the entries of its row in their order.
template <typename T>
__global__ void feature_gradient(const T* grad, const Accumulator<T>* weights, const int64_t* sorted,
                                 const int32_t* order, int64_t entries, InterpolationSizes s, T* out) {
  MAE3D_GRID_STRIDE(t, s.batch * s.rows * s.channels) {
    const int64_t row = t / s.channels, c = t % s.channels;
    int64_t low = 0, high = entries;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sorted[middle] < row) low = middle + 1; else high = middle;
    }
    Accumulator<T> sum = 0;
    for (; low < entries && sorted[low] == row; ++low) {
      const int64_t e = order[low];
      sum += weights[e] * static_cast<Accumulator<T>>(grad[e / s.neighbours * s.channels + c]);
    }
    out[t] = static_cast<T>(sum);
  }
}

Tensor three_interpolate(const Tensor& features, const Tensor& indices, const Tensor& weights) {
  const char* op = "three_interpolate";
  const InterpolationSizes s = check_sizes(features, indices, weights, op);
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), ids = as_contiguous(indices), w = as_contiguous(weights);
  std::vector<int64_t> shape{s.queries, s.channels};
  if (features.dim() == 3) shape.insert(shape.begin(), s.batch);
  Tensor out = make_empty(features, shape, features.scalar_type());
  const int64_t total = s.batch * s.queries * s.channels;
  if (total == 0) return out;
  dispatch_float(features, op, "features", [&](auto value) {
    using T = decltype(value);
    interpolate<T><<<grid_for(total, kThreads), kThreads, 0, scope.stream>>>(
        cdata<T>(f), cdata<int64_t>(ids), cdata<Accumulator<T>>(w), s, mdata<T>(out));
  });
  check_cuda(cudaGetLastError(), op);
  return out;
}

std::tuple<Tensor, Tensor> three_interpolate_backward(const Tensor& grad, const Tensor& features,
                                                      const Tensor& indices, const Tensor& weights) {
  const char* op = "three_interpolate_backward";
  const InterpolationSizes s = check_sizes(features, indices, weights, op);
  check_dtype(grad, features.scalar_type(), op, "grad");
  check_same_device(features, grad, op, "grad");
  MAE3D_CHECK(grad.numel() == s.batch * s.queries * s.channels, op, ": 'grad' does not have the shape of the result");
  const CudaScope scope(features);
  const Tensor g = as_contiguous(grad), f = as_contiguous(features), ids = as_contiguous(indices),
               w = as_contiguous(weights);
  Tensor grad_features = torch::stable::new_empty(f, f.sizes(), f.scalar_type());
  Tensor grad_weights = torch::stable::new_empty(w, w.sizes(), w.scalar_type());
  const int64_t entries = s.batch * s.queries * s.neighbours, feature_rows = s.batch * s.rows;
  MAE3D_CHECK(entries < (int64_t{1} << 31), op, ": too many neighbours for one call: ", entries);
  const Tensor keys = make_empty(f, {entries}, ScalarType::Long);
  if (entries > 0)
    feature_row_keys<<<grid_for(entries, kThreads), kThreads, 0, scope.stream>>>(
        cdata<int64_t>(ids), entries, s.queries * s.neighbours, s.rows, feature_rows, mdata<int64_t>(keys));
  const SortedRows sorted = sort_rows(keys, bits_for(feature_rows), scope.stream, op);
  dispatch_float(features, op, "features", [&](auto value) {
    using T = decltype(value);
    if (entries > 0)
      weight_gradient<T><<<grid_for(entries * 32, kThreads), kThreads, 0, scope.stream>>>(
          cdata<T>(g), cdata<T>(f), cdata<int64_t>(keys), s, mdata<Accumulator<T>>(grad_weights));
    if (feature_rows * s.channels > 0)
      feature_gradient<T><<<grid_for(feature_rows * s.channels, kThreads), kThreads, 0, scope.stream>>>(
          cdata<T>(g), cdata<Accumulator<T>>(w), cdata<int64_t>(sorted.keys), cdata<int32_t>(sorted.rows), entries, s,
          mdata<T>(grad_features));
  });
  check_cuda(cudaGetLastError(), op);
  return {grad_features, grad_weights};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("three_interpolate", TORCH_BOX(&three_interpolate));
  m.impl("three_interpolate_backward", TORCH_BOX(&three_interpolate_backward));
}

}  // namespace mae3d
