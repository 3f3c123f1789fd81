// Forward: a warp owns a tile of groups and 128 columns, whose sums stay in shared memory. It walks the tile's rows
// in the order of their matrices with the matrix's columns in registers, and loads the next matrix meanwhile.
#pragma once
#include <algorithm>

#include "sorted_rows.cuh"

namespace mae3d::indexed_linear {
namespace {

constexpr int kMaxTile = 64;              // groups of a warp
constexpr int64_t kWantedWarps = 1024;    // tiles are as large as this many warps allow

template <typename T> struct ForwardArguments {
  const Accumulator<T>* features;  // [M, padded], sorted
  const int32_t* matrix;           // [M]
  const int32_t* group;            // [M]
  const int32_t* begin;            // [tiles + 1]
  const T* weight;                 // [K, channels, width]
  const int64_t* counts;           // [num_groups], or null for sums
  T* out;                          // [num_groups, width]
  int64_t padded, channels, width, num_groups;
  int tile;
  bool wide;
};

// Rows of one pass of channels of a matrix, four columns of each.
template <typename T> struct MatrixColumns {
  Four<T> row[kChannels];
  __device__ __forceinline__ void load(const ForwardArguments<T>& g, int32_t matrix, int64_t first_channel,
                                       int64_t first_column) {
    const T* source = g.weight + (static_cast<int64_t>(matrix) * g.channels + first_channel) * g.width;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (first_channel + c < g.channels) {
        row[c] = load_four(source + c * g.width, first_column, g.width, g.wide);
      } else {
#pragma unroll
        for (int i = 0; i < kEach; ++i) row[c].v[i] = static_cast<T>(0.0f);
      }
    }
  }
};

// One warp per block. Shared memory: sums [tile][kColumns], features of 32 rows [32][kChannels].
template <typename T> __global__ void __launch_bounds__(kWarp) forward_kernel(ForwardArguments<T> g) {
  using A = Accumulator<T>;
  extern __shared__ __align__(32) unsigned char memory[];
  Four<A>* sums = reinterpret_cast<Four<A>*>(memory);
  A* staged = reinterpret_cast<A*>(sums + static_cast<int64_t>(g.tile) * kWarp);
  const int lane = threadIdx.x;
  const int64_t first_group = static_cast<int64_t>(blockIdx.x) * g.tile;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kColumns + lane * kEach;
  const int64_t begin = g.begin[blockIdx.x], end = g.begin[blockIdx.x + 1];
  for (int p = 0; p < g.tile; ++p)
    for (int i = 0; i < kEach; ++i) sums[p * kWarp + lane].v[i] = A(0);

  for (int64_t first_channel = 0; first_channel < g.padded; first_channel += kChannels) {
    for (int64_t base = begin; base < end; base += kWarp) {
      const int count = static_cast<int>(min(static_cast<int64_t>(kWarp), end - base));
      const int32_t matrix = lane < count ? g.matrix[base + lane] : -1;
      const int32_t local = lane < count ? static_cast<int32_t>(g.group[base + lane] - first_group) : 0;
      __syncwarp();  // the rows staged before are used up
      for (int i = lane; i < count * kChannels; i += kWarp)
        staged[i] = g.features[(base + i / kChannels) * g.padded + first_channel + i % kChannels];
      __syncwarp();
      const int32_t previous = __shfl_up_sync(0xffffffffu, matrix, 1);
      unsigned heads = __ballot_sync(0xffffffffu, lane < count && (lane == 0 || matrix != previous));
      MatrixColumns<T> next;
      next.load(g, __shfl_sync(0xffffffffu, matrix, 0), first_channel, column);
      while (heads) {  // a run of rows that use one matrix
        const int head = __ffs(heads) - 1;
        heads &= heads - 1;
        const int stop = heads ? __ffs(heads) - 1 : count;
        A w[kChannels][kEach];
#pragma unroll
        for (int c = 0; c < kChannels; ++c)
#pragma unroll
          for (int i = 0; i < kEach; ++i) w[c][i] = static_cast<A>(next.row[c].v[i]);
        const int32_t following = __shfl_sync(0xffffffffu, matrix, stop & (kWarp - 1));
        if (heads) next.load(g, following, first_channel, column);
        for (int r = head; r < stop; ++r) {
          Four<A>* target = sums + __shfl_sync(0xffffffffu, local, r) * kWarp + lane;
          const A* f = staged + r * kChannels;
          Four<A> product;
#pragma unroll
          for (int i = 0; i < kEach; ++i) product.v[i] = A(0);
#pragma unroll
          for (int c = 0; c < kChannels; ++c)
#pragma unroll
            for (int i = 0; i < kEach; ++i) product.v[i] += f[c] * w[c][i];
          Four<A> sum = *target;
#pragma unroll
          for (int i = 0; i < kEach; ++i) sum.v[i] += product.v[i];
          *target = sum;
        }
      }
    }
  }

  for (int p = 0; p < g.tile && first_group + p < g.num_groups; ++p) {
    const int64_t group = first_group + p;
    const A count = g.counts && g.counts[group] > 1 ? static_cast<A>(g.counts[group]) : A(1);
    for (int i = 0; i < kEach; ++i)
      if (column + i < g.width) g.out[group * g.width + column + i] = static_cast<T>(sums[p * kWarp + lane].v[i] / count);
  }
}

template <typename T>
void forward(const Tensor& features, const Tensor& weight, const Tensor& index, const Tensor& group,
             const Tensor& counts, bool mean, const Tensor& out, cudaStream_t stream) {
  using A = Accumulator<T>;
  const int64_t num_groups = out.size(0), width = out.size(1), num_weights = weight.size(0);
  const int64_t column_blocks = ceil_div<int64_t>(width, kColumns);
  MAE3D_CHECK(column_blocks < 65536, kForward, ": ", width, " columns are too many");
  const int64_t tile = std::clamp<int64_t>(ceil_div(num_groups * column_blocks, kWantedWarps), 1,
                                           sizeof(A) == 8 ? kMaxTile / 2 : kMaxTile);
  const SortedRows sorted = sort_by_matrix(kForward, index, group, num_groups, num_weights, tile, true, stream);
  const Tensor packed = gather_features<A>(kForward, features, sorted, nullptr, num_groups, stream);
  ForwardArguments<T> g{};
  g.features = cdata<A>(packed), g.matrix = cdata<int32_t>(sorted.matrix), g.group = cdata<int32_t>(sorted.group);
  g.begin = cdata<int32_t>(sorted.begin), g.weight = cdata<T>(weight), g.out = mdata<T>(out);
  g.counts = mean ? cdata<int64_t>(counts) : nullptr;
  g.padded = packed.size(1), g.channels = features.size(1), g.width = width, g.num_groups = num_groups;
  g.tile = static_cast<int>(tile), g.wide = is_wide<T>(weight, width);
  const size_t bytes = static_cast<size_t>(tile) * kWarp * sizeof(Four<A>) + kWarp * kChannels * sizeof(A);
  check_cuda(cudaFuncSetAttribute(forward_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)), kForward);
  const dim3 grid(static_cast<unsigned>(ceil_div(num_groups, tile)), static_cast<unsigned>(column_blocks));
  forward_kernel<T><<<grid, kWarp, bytes, stream>>>(g);
  check_cuda(cudaGetLastError(), kForward);
}

}  // namespace
}  // namespace mae3d::indexed_linear
