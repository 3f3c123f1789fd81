// Gradient of the weight: a block owns a matrix, keeps its sums in registers and walks the matrix's rows.
#pragma once
#include <algorithm>

#include "sorted_rows.cuh"

namespace mae3d::indexed_linear {
namespace {

constexpr int64_t kPartRows = 2048;       // rows of a matrix, on average, that one block adds up
constexpr int64_t kMaxParts = 64;

template <typename T> struct GradArguments {
  const Accumulator<T>* features;  // [M, padded], sorted and scaled
  const int32_t* group;            // [M]
  const int32_t* begin;            // [num_weights + 1]
  const T* grad;                   // [num_groups, width]
  void* out;                       // [parts, num_weights, channels, width]: sums, or T where parts is 1
  int64_t padded, channels, width, num_weights, parts;
  bool wide;
};

// blockIdx.x: matrix and part of its rows, y: columns, z: pass of channels. R is the type of the result.
template <typename T, typename R> __global__ void weight_grad_kernel(GradArguments<T> g) {
  using A = Accumulator<T>;
  const int64_t matrix = blockIdx.x / g.parts, part = blockIdx.x % g.parts;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * kEach;
  const int64_t first_channel = static_cast<int64_t>(blockIdx.z) * kChannels;
  const int64_t first = g.begin[matrix], rows = g.begin[matrix + 1] - first;
  const int64_t begin = first + rows * part / g.parts, end = first + rows * (part + 1) / g.parts;
  if (column >= g.width) return;
  A sum[kChannels][kEach];
#pragma unroll
  for (int c = 0; c < kChannels; ++c)
#pragma unroll
    for (int i = 0; i < kEach; ++i) sum[c][i] = A(0);
#pragma unroll 4
  for (int64_t j = begin; j < end; ++j) {
    const A* f = g.features + j * g.padded + first_channel;
    const Four<T> row = load_four(g.grad + static_cast<int64_t>(g.group[j]) * g.width, column, g.width, g.wide);
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
#pragma unroll
      for (int i = 0; i < kEach; ++i) sum[c][i] += f[c] * static_cast<A>(row.v[i]);
  }
  R* out = static_cast<R*>(g.out) + (part * g.num_weights + matrix) * g.channels * g.width;
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    if (first_channel + c >= g.channels) break;
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (column + i < g.width) out[(first_channel + c) * g.width + column + i] = static_cast<R>(sum[c][i]);
  }
}

template <typename T>
__global__ void add_parts_kernel(const Accumulator<T>* partial, int64_t parts, int64_t size, T* out) {
  MAE3D_GRID_STRIDE(i, size) {
    Accumulator<T> total = partial[i];
    for (int64_t p = 1; p < parts; ++p) total += partial[p * size + i];
    out[i] = static_cast<T>(total);
  }
}

template <typename T>
void weight_grad(const Tensor& grad, const Tensor& features, const Tensor& index, const Tensor& group,
                 const int64_t* counts, const Tensor& out, cudaStream_t stream) {
  using A = Accumulator<T>;
  const int64_t num_weights = out.size(0), channels = out.size(1), width = out.size(2), num_groups = grad.size(0);
  const SortedRows sorted =
      sort_by_matrix(kWeightGrad, index, group, num_groups, num_weights, std::max<int64_t>(1, num_groups), false, stream);
  const Tensor packed = gather_features<A>(kWeightGrad, features, sorted, counts, num_groups, stream);
  GradArguments<T> g{};
  g.features = cdata<A>(packed), g.group = cdata<int32_t>(sorted.group), g.begin = cdata<int32_t>(sorted.begin);
  g.grad = cdata<T>(grad), g.padded = packed.size(1), g.channels = channels, g.width = width;
  g.num_weights = num_weights, g.wide = is_wide<T>(grad, width);
  g.parts = std::clamp<int64_t>(index.size(0) / (kPartRows * num_weights), 1, kMaxParts);
  const int64_t warps = std::clamp<int64_t>(ceil_div<int64_t>(width, kColumns), 1, 4);
  const int64_t column_blocks = ceil_div(width, warps * kColumns), passes = g.padded / kChannels;
  MAE3D_CHECK(column_blocks < 65536 && passes < 65536 && num_weights * g.parts < (int64_t{1} << 31), kWeightGrad,
              ": a weight of ", num_weights, " x ", channels, " x ", width, " is too large");
  const dim3 grid(static_cast<unsigned>(num_weights * g.parts), static_cast<unsigned>(column_blocks),
                  static_cast<unsigned>(passes));
  const unsigned threads = static_cast<unsigned>(warps * kWarp);
  if (g.parts == 1) {
    g.out = mdata<T>(out);
    weight_grad_kernel<T, T><<<grid, threads, 0, stream>>>(g);
  } else {
    const int64_t size = num_weights * channels * width;
    const Tensor partial = make_empty(grad, {g.parts, size}, sum_type(grad.scalar_type()));
    g.out = mdata<A>(partial);
    weight_grad_kernel<T, A><<<grid, threads, 0, stream>>>(g);
    add_parts_kernel<T><<<grid_for(size, kThreads), kThreads, 0, stream>>>(cdata<A>(partial), g.parts, size, mdata<T>(out));
  }
  check_cuda(cudaGetLastError(), kWeightGrad);
}

}  // namespace
}  // namespace mae3d::indexed_linear
