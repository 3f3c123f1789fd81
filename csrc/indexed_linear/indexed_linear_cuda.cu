// Rows are sorted once by the matrix that they use, so that a matrix is loaded once for a run of rows. No atomics on
// floats, hence one order of additions.
//
// Forward: a warp owns a tile of groups and 128 columns, whose sums stay in shared memory. It walks the tile's rows
// in the order of their matrices with the matrix's columns in registers, and loads the next matrix meanwhile.
// Gradient of the weight: a block owns a matrix, keeps its sums in registers and walks the matrix's rows.
// Gradient of the features: a warp takes a row, in the order of the matrices, which makes the cache hold them.
#include <algorithm>

#include "../common/sorted_groups.cuh"
#include "indexed_linear.h"

namespace mae3d::indexed_linear {
namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kChannels = 12;             // channels multiplied in one pass over the rows
constexpr int kEach = 4;                  // columns of a thread
constexpr int kColumns = kWarp * kEach;   // columns of a warp
constexpr int kMaxTile = 64;              // groups of a warp
constexpr int64_t kWantedWarps = 1024;    // tiles are as large as this many warps allow
constexpr int64_t kPartRows = 2048;       // rows of a matrix, on average, that one block adds up
constexpr int64_t kMaxParts = 64;

template <typename T> struct alignas(kEach * sizeof(T)) Four {
  T v[kEach];
};

// Columns first .. first + 3 of a row of `width`, zeros beyond its end; `wide`: rows can be read four at a time.
template <typename T> __device__ __forceinline__ Four<T> load_four(const T* row, int64_t first, int64_t width, bool wide) {
  Four<T> four;
  if (wide && first < width) return *reinterpret_cast<const Four<T>*>(row + first);
#pragma unroll
  for (int i = 0; i < kEach; ++i) four.v[i] = first + i < width ? row[first + i] : static_cast<T>(0.0f);
  return four;
}

template <typename T> bool is_wide(const Tensor& t, int64_t width) {
  return reinterpret_cast<uintptr_t>(t.data_ptr()) % sizeof(Four<T>) == 0 && width % kEach == 0;
}

// key = tile of the group * num_weights + matrix; rows that join nothing come last.
__global__ void keys_kernel(const int64_t* index, const int64_t* group, int64_t rows, int64_t num_groups,
                            int64_t num_weights, int64_t tile, int64_t tiles, int64_t* keys) {
  MAE3D_GRID_STRIDE(i, rows) {
    const int64_t k = index[i], t = group[i];
    const bool joins = t >= 0 && t < num_groups && k >= 0 && k < num_weights;
    keys[i] = joins ? t / tile * num_weights + k : tiles * num_weights;
  }
}

// begin[r] = first position whose key is r * step or more, for r = 0 .. count.
__global__ void begins_kernel(const int64_t* keys, int64_t rows, int64_t step, int64_t count, int32_t* begin) {
  MAE3D_GRID_STRIDE(r, count + 1) {
    int64_t low = 0, high = rows;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (keys[middle] < r * step) low = middle + 1; else high = middle;
    }
    begin[r] = static_cast<int32_t>(low);
  }
}

__global__ void count_kernel(const int64_t* index, const int64_t* group, int64_t rows, int64_t num_groups,
                             int64_t num_weights, unsigned long long* counts) {
  MAE3D_GRID_STRIDE(i, rows) {
    const int64_t k = index[i], t = group[i];
    if (t >= 0 && t < num_groups && k >= 0 && k < num_weights) atomicAdd(counts + t, 1ULL);
  }
}

// What the walks read, in sorted order.
struct SortedRows {
  Tensor rows;    // int32 [M]: row of the input
  Tensor matrix;  // int32 [M]
  Tensor group;   // int32 [M]
  Tensor begin;   // int32 [boundaries + 1]
};

__global__ void look_up_kernel(const int32_t* rows, const int64_t* index, const int64_t* group, int64_t count,
                               int32_t* matrix, int32_t* target) {
  MAE3D_GRID_STRIDE(j, count) {
    matrix[j] = static_cast<int32_t>(index[rows[j]]);
    target[j] = static_cast<int32_t>(group[rows[j]]);
  }
}

// Rows by (tile of groups, matrix, row). Boundaries are those of the tiles or, in one tile, of the matrices.
SortedRows sort_by_matrix(const char* op, const Tensor& index, const Tensor& group, int64_t num_groups,
                          int64_t num_weights, int64_t tile, bool by_tile, cudaStream_t stream) {
  const int64_t rows = index.size(0), tiles = ceil_div(num_groups, tile);
  const unsigned blocks = grid_for(rows, kThreads);
  const Tensor keys = make_empty(index, {rows}, ScalarType::Long);
  keys_kernel<<<blocks, kThreads, 0, stream>>>(cdata<int64_t>(index), cdata<int64_t>(group), rows, num_groups,
                                               num_weights, tile, tiles, mdata<int64_t>(keys));
  const mae3d::SortedRows sorted = sort_rows(keys, bits_for(tiles * num_weights), stream, op);
  const int64_t boundaries = by_tile ? tiles : num_weights;
  SortedRows out{sorted.rows, make_empty(index, {rows}, ScalarType::Int), make_empty(index, {rows}, ScalarType::Int),
                 make_empty(index, {boundaries + 1}, ScalarType::Int)};
  begins_kernel<<<grid_for(boundaries + 1, kThreads), kThreads, 0, stream>>>(
      cdata<int64_t>(sorted.keys), rows, by_tile ? num_weights : 1, boundaries, mdata<int32_t>(out.begin));
  look_up_kernel<<<blocks, kThreads, 0, stream>>>(cdata<int32_t>(out.rows), cdata<int64_t>(index),
                                                  cdata<int64_t>(group), rows, mdata<int32_t>(out.matrix),
                                                  mdata<int32_t>(out.group));
  return out;
}

// Features in sorted order and in the type of the sums, channels padded with zeros to whole passes, divided by the
// rows that joined the row's group where counts are given.
template <typename F, typename A>
__global__ void gather_features_kernel(const F* features, const int32_t* rows, const int32_t* group,
                                       const int64_t* counts, int64_t num_rows, int64_t num_groups, int64_t channels,
                                       int64_t padded, A* out) {
  MAE3D_GRID_STRIDE(i, num_rows * padded) {
    const int64_t j = i / padded, c = i % padded;
    A value = c < channels ? static_cast<A>(features[rows[j] * channels + c]) : A(0);
    if (counts) {
      const int32_t t = group[j];
      if (t >= 0 && t < num_groups && counts[t] > 1) value /= static_cast<A>(counts[t]);
    }
    out[i] = value;
  }
}

int64_t padded_channels(int64_t channels) { return ceil_div<int64_t>(channels, kChannels) * kChannels; }

template <typename A>
Tensor gather_features(const char* op, const Tensor& features, const SortedRows& sorted, const int64_t* counts,
                       int64_t num_groups, cudaStream_t stream) {
  const int64_t rows = features.size(0), channels = features.size(1), padded = padded_channels(channels);
  const Tensor out = make_empty(features, {rows, padded}, sum_type(features.scalar_type()));
  dispatch_float(features, op, "features", [&](auto zero) {
    using F = decltype(zero);
    gather_features_kernel<F, A><<<grid_for(rows * padded, kThreads), kThreads, 0, stream>>>(
        cdata<F>(features), cdata<int32_t>(sorted.rows), cdata<int32_t>(sorted.group), counts, rows, num_groups,
        channels, padded, mdata<A>(out));
  });
  return out;
}

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

std::tuple<Tensor, Tensor> indexed_linear(const Tensor& features, const Tensor& weight, const Tensor& index,
                                          const Tensor& group, int64_t num_groups, bool mean) {
  check_forward(features, weight, index, group, num_groups);
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), w = as_contiguous(weight), i = as_contiguous(index), t = as_contiguous(group);
  const Tensor counts = make_zeros(f, {num_groups}, ScalarType::Long);
  const int64_t rows = i.size(0);
  if (rows == 0 || num_groups == 0 || w.size(1) == 0 || w.size(2) == 0)
    return {make_zeros(f, {num_groups, w.size(2)}, w.scalar_type()), counts};
  const Tensor out = make_empty(f, {num_groups, w.size(2)}, w.scalar_type());
  count_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(
      cdata<int64_t>(i), cdata<int64_t>(t), rows, num_groups, w.size(0),
      reinterpret_cast<unsigned long long*>(mdata<int64_t>(counts)));
  dispatch_float(w, kForward, "weight",
                 [&](auto zero) { forward<decltype(zero)>(f, w, i, t, counts, mean, out, scope.stream); });
  return {out, counts};
}

Tensor indexed_linear_feature_grad(const Tensor& grad, const Tensor& weight, const Tensor& index, const Tensor& group,
                                   const Tensor& counts, bool mean) {
  check_feature_grad(grad, weight, index, group, counts);
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), w = as_contiguous(weight), i = as_contiguous(index), t = as_contiguous(group);
  const Tensor n = as_contiguous(counts);
  const Tensor out = make_zeros(g, {i.size(0), w.size(1)}, g.scalar_type());
  if (i.size(0) == 0 || g.size(0) == 0 || w.size(0) == 0 || w.size(1) == 0) return out;
  dispatch_float(g, kFeatureGrad, "grad", [&](auto zero) {
    feature_grad<decltype(zero)>(g, w, i, t, mean ? cdata<int64_t>(n) : nullptr, out, scope.stream);
  });
  return out;
}

Tensor indexed_linear_weight_grad(const Tensor& grad, const Tensor& features, const Tensor& index, const Tensor& group,
                                  const Tensor& counts, int64_t num_weights, bool mean) {
  check_weight_grad(grad, features, index, group, counts, num_weights);
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), f = as_contiguous(features), i = as_contiguous(index), t = as_contiguous(group);
  const Tensor n = as_contiguous(counts);
  if (i.size(0) == 0 || g.size(0) == 0 || num_weights * f.size(1) * g.size(1) == 0)
    return make_zeros(g, {num_weights, f.size(1), g.size(1)}, g.scalar_type());
  const Tensor out = make_empty(g, {num_weights, f.size(1), g.size(1)}, g.scalar_type());
  dispatch_float(g, kWeightGrad, "grad", [&](auto zero) {
    weight_grad<decltype(zero)>(g, f, i, t, mean ? cdata<int64_t>(n) : nullptr, out, scope.stream);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("indexed_linear", TORCH_BOX(&indexed_linear));
  m.impl("indexed_linear_feature_grad", TORCH_BOX(&indexed_linear_feature_grad));
  m.impl("indexed_linear_weight_grad", TORCH_BOX(&indexed_linear_weight_grad));
}

}  // namespace mae3d::indexed_linear
