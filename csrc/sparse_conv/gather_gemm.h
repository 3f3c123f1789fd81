// Products over gathered rows for the CPU, chosen once by instruction set.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../common/simd.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MAE3D_NO_MULTIVERSION)
#define MAE3D_SPARSE_MULTIVERSION
#include <immintrin.h>
#endif

namespace mae3d::sparse_conv {

// result[out[p], :] += features[in[p], :] * B over all pairs p, one after the other: an out may repeat (indexed_linear).
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

// Lists the non-negative entries of table[begin, end) and their positions; returns how many. `in` and `out` hold
// at least end - begin + kListMargin entries; `largest` is the largest entry.
constexpr int64_t kListMargin = 16;

inline int64_t collect_pairs(const int32_t* table, int64_t begin, int64_t end, int32_t* in, int32_t* out,
                             int32_t& largest) {
  int64_t count = 0;
  for (int64_t o = begin; o < end; ++o) {  // branch-free: most entries are empty, without a pattern
    in[count] = table[o];
    out[count] = static_cast<int32_t>(o);
    count += table[o] >= 0;
    largest = std::max(largest, table[o]);
  }
  return count;
}

template <typename T> struct RowKernels {
  int64_t lanes;
  int64_t max_vectors;
  void (*gather_gemm)(const GatherGemm<T>&);
  void (*outer_gemm)(const OuterGemm<T>&);
  int64_t (*collect_pairs)(const int32_t*, int64_t, int64_t, int32_t*, int32_t*, int32_t&);
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

#ifdef MAE3D_SPARSE_MULTIVERSION
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

// Sixteen entries at a time: the compiler does not find the compress instruction by itself.
inline int64_t collect_pairs(const int32_t* table, int64_t begin, int64_t end, int32_t* in, int32_t* out,
                             int32_t& largest) {
  const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i top = _mm512_set1_epi32(largest);
  int64_t count = 0;
  for (int64_t o = begin; o < end; o += 16) {
    const __mmask16 present = end - o >= 16 ? 0xffff : static_cast<__mmask16>((1u << (end - o)) - 1u);
    const __m512i rows = _mm512_mask_loadu_epi32(_mm512_set1_epi32(-1), present, table + o);
    const __mmask16 used = _mm512_cmpge_epi32_mask(rows, _mm512_setzero_si512());
    const __m512i positions = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(o)), steps);
    _mm512_storeu_si512(in + count, _mm512_maskz_compress_epi32(used, rows));
    _mm512_storeu_si512(out + count, _mm512_maskz_compress_epi32(used, positions));
    top = _mm512_mask_max_epi32(top, used, top, rows);
    count += __builtin_popcount(used);
  }
  int32_t tops[16];
  _mm512_storeu_si512(tops, top);
  largest = *std::max_element(tops, tops + 16);
  return count;
}
#include "gather_gemm_tiles.h"
}  // namespace v4
#pragma GCC pop_options
#endif

#pragma GCC pop_options

template <typename T> const RowKernels<T>& row_kernels() {
#ifdef MAE3D_SPARSE_MULTIVERSION
  static const RowKernels<T> kernels = __builtin_cpu_supports("x86-64-v4")   ? v4::row_kernels<T>()
                                       : __builtin_cpu_supports("x86-64-v3") ? v3::row_kernels<T>()
                                                                             : baseline::row_kernels<T>();
#else
  static const RowKernels<T> kernels = baseline::row_kernels<T>();
#endif
  return kernels;
}

}  // namespace mae3d::sparse_conv
