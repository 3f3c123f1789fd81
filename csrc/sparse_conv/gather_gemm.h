// Products over gathered rows for the CPU, chosen once by instruction set.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../common/simd.h"

namespace mae3d::sparse_conv {

// result[out[p], :] += features[in[p], :] * B over all pairs p; the out of one call are distinct.
template <typename T> struct GatherGemm {
  const T* features;       // [*, depth]
  int64_t depth;
  const T* packed;         // B in panels of max_vectors vectors, each [depth][width], see pack_weight
  T* result;               // [*, result_stride]
  int64_t result_stride;   // columns, a multiple of the lanes
  const int32_t* in;
  const int32_t* out;
  int64_t pairs;
};

// result[:, :] += sum over p of left[in[p], :]^T right[out[p], :]
template <typename T> struct OuterGemm {
  const T* left;           // [*, rows]
  int64_t rows;
  const T* right;          // [*, columns]
  int64_t columns;         // a multiple of the lanes
  T* result;               // [rows, columns]
  const int32_t* in;
  const int32_t* out;
  int64_t pairs;
};

template <typename T> struct RowKernels {
  int64_t lanes;
  int64_t max_vectors;
  void (*gather_gemm)(const GatherGemm<T>&);
  void (*outer_gemm)(const OuterGemm<T>&);
};

// A product may fuse multiply and add here, unlike in the geometry operators: sums of features have no ties
// to break, and it doubles the speed.
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")

namespace baseline {
constexpr int kBytes = 16, kMaxVectors = 2;
constexpr int kTileRows[] = {0, 8, 6};
#include "gather_gemm_tiles.h"
}  // namespace baseline

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MAE3D_NO_MULTIVERSION)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
constexpr int kBytes = 32, kMaxVectors = 2;
constexpr int kTileRows[] = {0, 8, 6};
#include "gather_gemm_tiles.h"
}  // namespace v3
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
constexpr int kBytes = 64, kMaxVectors = 4;
constexpr int kTileRows[] = {0, 8, 8, 8, 6};
#include "gather_gemm_tiles.h"
}  // namespace v4
#pragma GCC pop_options
#endif

#pragma GCC pop_options

template <typename T> const RowKernels<T>& row_kernels() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(MAE3D_NO_MULTIVERSION)
  static const RowKernels<T> kernels = __builtin_cpu_supports("x86-64-v4")   ? v4::row_kernels<T>()
                                       : __builtin_cpu_supports("x86-64-v3") ? v3::row_kernels<T>()
                                                                             : baseline::row_kernels<T>();
#else
  static const RowKernels<T> kernels = baseline::row_kernels<T>();
#endif
  return kernels;
}

}  // namespace mae3d::sparse_conv
