// Rows grouped by key on the device: a stable radix sort and the numbering of its runs. Everything that must be
// summed or listed per group in a fixed order is built on it, so results do not depend on the schedule.
#pragma once

#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "checks.h"
#include "cuda.cuh"

namespace mae3d {

constexpr int kGroupThreads = 256;

inline void check_cuda(cudaError_t status, const char* op) {
  MAE3D_CHECK(status == cudaSuccess, op, ": ", cudaGetErrorString(status));
}

inline int bits_for(int64_t largest) {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(largest))));
}

static __global__ void iota_kernel(int32_t* out, int64_t n) {
  MAE3D_GRID_STRIDE(i, n) out[i] = static_cast<int32_t>(i);
}

struct SortedRows {
  Tensor keys;  // int64 [n] ascending
  Tensor rows;  // int32 [n], equal keys in ascending row order
};

// Sorts rows 0 .. n - 1 (n < 2^31) by int64 keys in [0, 2^key_bits).
inline SortedRows sort_rows(const Tensor& keys, int key_bits, cudaStream_t stream, const char* op) {
  const int64_t n = keys.size(0);
  const Tensor identity = make_empty(keys, {n}, ScalarType::Int);
  SortedRows out{make_empty(keys, {n}, ScalarType::Long), make_empty(keys, {n}, ScalarType::Int)};
  if (n == 0) return out;
  iota_kernel<<<grid_for(n, kGroupThreads), kGroupThreads, 0, stream>>>(mdata<int32_t>(identity), n);
  const auto* in = reinterpret_cast<const uint64_t*>(cdata<int64_t>(keys));
  auto* sorted = reinterpret_cast<uint64_t*>(mdata<int64_t>(out.keys));
  const auto run = [&](void* scratch, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, in, sorted, cdata<int32_t>(identity),
                                           mdata<int32_t>(out.rows), n, 0, key_bits, stream);
  };
  size_t bytes = 0;
  check_cuda(run(nullptr, bytes), op);
  const Tensor scratch = make_empty(keys, {static_cast<int64_t>(bytes) + 1}, ScalarType::Byte);
  check_cuda(run(scratch.mutable_data_ptr(), bytes), op);
  return out;
}

// values[i] = values[0] + ... + values[i], int32, in place.
inline void inclusive_sum(const Tensor& values, cudaStream_t stream, const char* op) {
  const int64_t n = values.size(0);
  if (n == 0) return;
  int32_t* data = mdata<int32_t>(values);
  size_t bytes = 0;
  check_cuda(cub::DeviceScan::InclusiveSum(nullptr, bytes, data, data, n, stream), op);
  const Tensor scratch = make_empty(values, {static_cast<int64_t>(bytes) + 1}, ScalarType::Byte);
  check_cuda(cub::DeviceScan::InclusiveSum(scratch.mutable_data_ptr(), bytes, data, data, n, stream), op);
}

static __global__ void mark_runs_kernel(const int64_t* keys, int64_t n, int32_t* marks) {
  MAE3D_GRID_STRIDE(j, n) marks[j] = j == 0 || keys[j] != keys[j - 1];
}

static __global__ void run_begins_kernel(const int32_t* number, int64_t n, int32_t* begin) {
  MAE3D_GRID_STRIDE(j, n) {
    if (j == 0 || number[j] != number[j - 1]) begin[number[j] - 1] = static_cast<int32_t>(j);
    if (j == n - 1) begin[number[j]] = static_cast<int32_t>(n);
  }
}

struct Runs {
  Tensor number;  // int32 [n]: 1 + the run that sorted position j belongs to
  Tensor begin;   // int32 [n + 1]: run r is positions begin[r] .. begin[r + 1]; entries behind the last run are unset
};

inline Runs number_runs(const Tensor& sorted_keys, cudaStream_t stream, const char* op) {
  const int64_t n = sorted_keys.size(0);
  Runs runs{make_empty(sorted_keys, {n}, ScalarType::Int), make_empty(sorted_keys, {n + 1}, ScalarType::Int)};
  if (n == 0) return runs;
  const unsigned blocks = grid_for(n, kGroupThreads);
  mark_runs_kernel<<<blocks, kGroupThreads, 0, stream>>>(cdata<int64_t>(sorted_keys), n, mdata<int32_t>(runs.number));
  inclusive_sum(runs.number, stream, op);
  run_begins_kernel<<<blocks, kGroupThreads, 0, stream>>>(cdata<int32_t>(runs.number), n, mdata<int32_t>(runs.begin));
  return runs;
}

// The one documented synchronisation: reads a value that decides the size of the results.
inline int64_t read_back(const int64_t* value, cudaStream_t stream, const char* op) {
  int64_t host = 0;
  check_cuda(cudaMemcpyAsync(&host, value, sizeof host, cudaMemcpyDeviceToHost, stream), op);
  check_cuda(cudaStreamSynchronize(stream), op);
  return host;
}

}  // namespace mae3d
