// Tiles of a product in shared memory, by ordinary or by tensor-core instructions, and the pairs they run over.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include "../common/cuda.cuh"

namespace mae3d::sparse_conv {

constexpr int kBlock = 256, kWarps = kBlock / 32;
constexpr int kColumns = 64;   // columns of a result tile
constexpr int kAccStride = kColumns + 4;

// Lists the non-empty entries of table[begin, end) in order: rows of the input and positions from `begin`.
// All threads of the block call it; the lists are ready on return. Entries >= input_rows count as empty.
__device__ inline int collect_pairs(const int32_t* table, int64_t begin, int64_t end, int64_t input_rows, int32_t* in,
                                    int32_t* out, int32_t* warp_totals) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int count = 0;
  for (int64_t base = begin; base < end; base += kBlock) {
    const int64_t at = base + threadIdx.x;
    const int32_t row = at < end ? table[at] : -1;
    const bool used = row >= 0 && row < input_rows;
    const unsigned votes = __ballot_sync(0xffffffffu, used);
    if (lane == 0) warp_totals[warp] = __popc(votes);
    __syncthreads();
    int before = count;
    for (int w = 0; w < kWarps; ++w) {
      before += w < warp ? warp_totals[w] : 0;
      count += warp_totals[w];
    }
    if (used) {
      const int slot = before + __popc(votes & ((1u << lane) - 1u));
      in[slot] = row;
      out[slot] = static_cast<int32_t>(at - begin);
    }
    __syncthreads();
  }
  return count;
}

// tile[r][c] = source[row(r) * width + first + c] for r < rows, zero outside [0, columns) and beyond `valid` rows.
template <typename T, int kRows, int kCols, int kStride, typename Row>
__device__ void load_tile(T* tile, const T* source, int64_t width, int64_t first, int valid, bool wide, const Row& row) {
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  if (wide) {  // rows are 16-byte aligned and a multiple of 16 bytes long
    for (int i = threadIdx.x; i < kRows * (kCols / kPack); i += kBlock) {
      const int r = i / (kCols / kPack), c = i % (kCols / kPack) * kPack;
      int4 value = make_int4(0, 0, 0, 0);
      if (r < valid && first + c < width) value = *reinterpret_cast<const int4*>(source + row(r) * width + first + c);
      *reinterpret_cast<int4*>(tile + r * kStride + c) = value;
    }
    return;
  }
  for (int i = threadIdx.x; i < kRows * kCols; i += kBlock) {
    const int r = i / kCols, c = i % kCols;
    tile[r * kStride + c] = r < valid && first + c < width ? source[row(r) * width + first + c] : T(0.0f);
  }
}

// Accumulates C[M][64] += A * B by ordinary arithmetic; thread (y, x) owns M / 16 rows and 4 columns.
// A is [M][K] (or, turned, [K][M]) and B is [K][64] in shared memory.
template <typename T, int M> struct PlainProduct {
  static constexpr int kPad = 16 / static_cast<int>(sizeof(T));
  static constexpr int kDepth = 32;  // terms added between two loads
  static constexpr int kStep = 1;    // `depth` of add is a multiple of it
  using Element = T;
  using Sum = T;
  static constexpr int kRowsEach = M / 16;
  T sum[kRowsEach][4];

  __device__ void clear() {
    for (int r = 0; r < kRowsEach; ++r)
      for (int c = 0; c < 4; ++c) sum[r][c] = T(0);
  }

  template <bool kTurned, int kStrideA, int kStrideB> __device__ void add(const T* a, const T* b, int depth) {
    const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * kRowsEach;
    for (int k = 0; k < depth; ++k) {
      T left[kRowsEach], right[4];
      for (int r = 0; r < kRowsEach; ++r) left[r] = kTurned ? a[k * kStrideA + y + r] : a[(y + r) * kStrideA + k];
      for (int c = 0; c < 4; ++c) right[c] = b[k * kStrideB + x + c];
      for (int r = 0; r < kRowsEach; ++r)
        for (int c = 0; c < 4; ++c) sum[r][c] += left[r] * right[c];
    }
  }

  // part is [M][kAccStride].
  __device__ void store(T* part) const {
    const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * kRowsEach;
    for (int r = 0; r < kRowsEach; ++r)
      for (int c = 0; c < 4; ++c) part[(y + r) * kAccStride + x + c] = sum[r][c];
  }
};

// The same by tensor cores: 16-bit factors, float32 sums. A warp owns M / 32 tiles of 16 x 16.
template <typename T, int M> struct TensorProduct {
  static constexpr int kPad = 8;
  static constexpr int kDepth = 64;
  static constexpr int kStep = 16;
  using Element = T;
  using Sum = float;
  static constexpr int kTiles = M / 16 * (kColumns / 16) / kWarps;
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sum[kTiles];

  __device__ void clear() {
    for (int t = 0; t < kTiles; ++t) nvcuda::wmma::fill_fragment(sum[t], 0.0f);
  }

  template <bool kTurned, int kStrideA, int kStrideB> __device__ void add(const T* a, const T* b, int depth) {
    using namespace nvcuda::wmma;
    using Layout = std::conditional_t<kTurned, col_major, row_major>;
    const int warp = threadIdx.x >> 5;
    for (int t = 0; t < kTiles; ++t) {
      const int tile = warp * kTiles + t, row = tile / (kColumns / 16) * 16, column = tile % (kColumns / 16) * 16;
      for (int k = 0; k < depth; k += 16) {
        fragment<matrix_a, 16, 16, 16, T, Layout> left;
        fragment<matrix_b, 16, 16, 16, T, row_major> right;
        load_matrix_sync(left, kTurned ? a + k * kStrideA + row : a + row * kStrideA + k, kStrideA);
        load_matrix_sync(right, b + k * kStrideB + column, kStrideB);
        mma_sync(sum[t], left, right, sum[t]);
      }
    }
  }

  __device__ void store(float* part) const {
    using namespace nvcuda::wmma;
    const int warp = threadIdx.x >> 5;
    for (int t = 0; t < kTiles; ++t) {
      const int tile = warp * kTiles + t, row = tile / (kColumns / 16) * 16, column = tile % (kColumns / 16) * 16;
      store_matrix_sync(part + row * kAccStride + column, sum[t], kAccStride, mem_row_major);
    }
  }
};

}  // namespace mae3d::sparse_conv
