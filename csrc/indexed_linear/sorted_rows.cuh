// Rows sorted by the matrix that they use, so that a matrix is loaded once for a run of rows, and what the walks over
// them share: twelve channels a pass, four columns a thread.
#pragma once
#include "../common/sorted_groups.cuh"
#include "indexed_linear.h"

namespace mae3d::indexed_linear {
namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr int kChannels = 12;             // channels multiplied in one pass over the rows
constexpr int kEach = 4;                  // columns of a thread
constexpr int kColumns = kWarp * kEach;   // columns of a warp

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

}  // namespace
}  // namespace mae3d::indexed_linear
