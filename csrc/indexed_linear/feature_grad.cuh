// Gradient of the features: a warp takes a row, in the order of the matrices, which makes the cache hold them.
#pragma once
#include <algorithm>

#include "sorted_rows.cuh"

namespace mae3d::indexed_linear {
namespace {

// A warp per sorted row: twelve products of length `width` at a time.
template <typename T>
__global__ void feature_grad_kernel(const T* grad, const T* weight, const int32_t* rows, const int32_t* matrix,
                                    const int32_t* group, const int32_t* begin, const int64_t* counts,
                                    int64_t num_weights, int64_t channels, int64_t width, bool wide, T* out) {
  using A = Accumulator<T>;
  const int lane = threadIdx.x % kWarp;
  const int64_t joined = begin[num_weights], warps = static_cast<int64_t>(gridDim.x) * (kThreads / kWarp);
  for (int64_t j = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp; j < joined; j += warps) {
    const int64_t t = group[j];
    const A scale = counts && counts[t] > 1 ? A(1) / static_cast<A>(counts[t]) : A(1);
    for (int64_t first = 0; first < channels; first += kChannels) {
      const T* source = weight + (static_cast<int64_t>(matrix[j]) * channels + first) * width;
      A sum[kChannels];
#pragma unroll
      for (int c = 0; c < kChannels; ++c) sum[c] = A(0);
      for (int64_t column = lane * kEach; column < width; column += kColumns) {
        const Four<T> g = load_four(grad + t * width, column, width, wide);
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
          if (first + c >= channels) break;
          const Four<T> w = load_four(source + c * width, column, width, wide);
#pragma unroll
          for (int i = 0; i < kEach; ++i) sum[c] += static_cast<A>(w.v[i]) * static_cast<A>(g.v[i]);
        }
      }
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
#pragma unroll
        for (int step = kWarp / 2; step > 0; step /= 2) sum[c] += __shfl_xor_sync(0xffffffffu, sum[c], step);
        if (lane == 0 && first + c < channels)
          out[static_cast<int64_t>(rows[j]) * channels + first + c] = static_cast<T>(sum[c] * scale);
      }
    }
  }
}

template <typename T>
void feature_grad(const Tensor& grad, const Tensor& weight, const Tensor& index, const Tensor& group,
                  const int64_t* counts, const Tensor& out, cudaStream_t stream) {
  const int64_t num_weights = weight.size(0), channels = weight.size(1), width = weight.size(2);
  const int64_t num_groups = grad.size(0), rows = index.size(0);
  const SortedRows sorted = sort_by_matrix(kFeatureGrad, index, group, num_groups, num_weights,
                                           std::max<int64_t>(1, num_groups), false, stream);
  feature_grad_kernel<T><<<grid_for(rows * kWarp, kThreads), kThreads, 0, stream>>>(
      cdata<T>(grad), cdata<T>(weight), cdata<int32_t>(sorted.rows), cdata<int32_t>(sorted.matrix),
      cdata<int32_t>(sorted.group), cdata<int32_t>(sorted.begin), counts, num_weights, channels, width,
      is_wide<T>(grad, width) && is_wide<T>(weight, width), mdata<T>(out));
  check_cuda(cudaGetLastError(), kFeatureGrad);
}

}  // namespace
}  // namespace mae3d::indexed_linear
