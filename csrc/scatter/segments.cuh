// Which inputs join each output row, on the device: inputs sorted by row and where each row begins among them.
#pragma once

#include "../common/sorted_groups.cuh"

namespace mae3d {

struct Segments {
  Tensor rows;   // int32 [T]: input numbers, grouped by output row, ascending within a row
  Tensor begin;  // int32 [V + 1]: output row r owns rows[begin[r] .. begin[r + 1])
};

static __global__ void segment_keys_kernel(const int64_t* index, int64_t n, int64_t num_rows, int64_t* keys) {
  MAE3D_GRID_STRIDE(i, n) keys[i] = index[i] < 0 || index[i] > num_rows ? num_rows : index[i];
}

static __global__ void segment_begins_kernel(const int64_t* keys, int64_t n, int64_t num_rows, int32_t* begin) {
  MAE3D_GRID_STRIDE(r, num_rows + 1) {
    int64_t low = 0, high = n;  // first position with key >= r
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (keys[middle] < r) low = middle + 1; else high = middle;
    }
    begin[r] = static_cast<int32_t>(low);
  }
}

// Inputs whose index is outside [0, num_rows) join no row.
inline Segments find_segments(const Tensor& index, int64_t num_rows, cudaStream_t stream, const char* op) {
  const int64_t n = index.size(0);
  const Tensor keys = make_empty(index, {n}, ScalarType::Long);
  segment_keys_kernel<<<grid_for(n, kGroupThreads), kGroupThreads, 0, stream>>>(cdata<int64_t>(index), n, num_rows,
                                                                                mdata<int64_t>(keys));
  const SortedRows sorted = sort_rows(keys, bits_for(num_rows), stream, op);
  const Tensor begin = make_empty(index, {num_rows + 1}, ScalarType::Int);
  segment_begins_kernel<<<grid_for(num_rows + 1, kGroupThreads), kGroupThreads, 0, stream>>>(
      cdata<int64_t>(sorted.keys), n, num_rows, mdata<int32_t>(begin));
  return {sorted.rows, begin};
}

}  // namespace mae3d
