#include "gather_points.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <cub/device/device_radix_sort.cuh>
#include <limits>
#include <type_traits>

#include "../common/cuda.cuh"

namespace mae3d::gather {
namespace {

constexpr int kThreads = 256;

void check_cuda(cudaError_t error, const char* op) {
  MAE3D_CHECK(error == cudaSuccess, op, ": ", cudaGetErrorString(error));
}

// Smallest power of two >= n, at most `most`: lanes that share a row.
int lanes_for(int64_t n, int most) {
  int lanes = 1;
  while (lanes < n && lanes < most) lanes *= 2;
  return lanes;
}

struct Source {  // strides in bytes
  const char* features;
  const int64_t* indices;
  int64_t points, rows, cloud_stride, row_stride;
};

// Rows in units of one machine word; `lanes` threads copy one row.
template <typename Word>
__global__ void __launch_bounds__(kThreads) copy_rows(Source source, Word* out, int64_t total, int64_t words,
                                                      int lanes) {
  const int lane = threadIdx.x % lanes;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kThreads / lanes);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes; i < total; i += step) {
    const int64_t index = source.indices[i], b = i / source.rows;
    const bool present = index >= 0 && index < source.points;
    const Word* row = reinterpret_cast<const Word*>(source.features + b * source.cloud_stride +
                                                    (present ? index : 0) * source.row_stride);
    for (int64_t w = lane; w < words; w += lanes) out[i * words + w] = present ? row[w] : Word{};
  }
}

template <typename Word> void launch_copy(const Source& source, void* out, int64_t total, int64_t bytes,
                                          cudaStream_t stream) {
  const int64_t words = bytes / static_cast<int64_t>(sizeof(Word));
  const int lanes = lanes_for(words, 32);
  copy_rows<Word><<<grid_for(total * lanes, kThreads), kThreads, 0, stream>>>(source, static_cast<Word*>(out), total,
                                                                              words, lanes);
}

Tensor gather_points(const Tensor& features, const Tensor& indices) {
  constexpr const char* op = "gather_points";
  check_indices(features, indices, op, "features");
  const CudaScope scope(features);
  const int64_t batch = features.size(0), rows = indices.size(1), channels = features.size(2);
  const Tensor out = make_empty(features, {batch, rows, channels}, features.scalar_type());
  const int64_t total = batch * rows;
  if (total * channels == 0) return out;
  const Tensor f = with_dense_rows(features), index = as_contiguous(indices);
  const int64_t item = static_cast<int64_t>(f.element_size()), bytes = channels * item;
  const Source source{static_cast<const char*>(f.data_ptr()), cdata<int64_t>(index), f.size(1), rows,
                      f.stride(0) * item, f.stride(1) * item};
  void* target = out.mutable_data_ptr();
  // The widest word that every row, read and written, starts on.
  const uint64_t alignment = reinterpret_cast<uintptr_t>(source.features) | reinterpret_cast<uintptr_t>(target) |
                             source.cloud_stride | source.row_stride | bytes;
  if (alignment % 16 == 0)
    launch_copy<uint4>(source, target, total, bytes, scope.stream);
  else if (alignment % 8 == 0)
    launch_copy<uint2>(source, target, total, bytes, scope.stream);
  else if (alignment % 4 == 0)
    launch_copy<uint32_t>(source, target, total, bytes, scope.stream);
  else if (alignment % 2 == 0)
    launch_copy<uint16_t>(source, target, total, bytes, scope.stream);
  else
    launch_copy<uint8_t>(source, target, total, bytes, scope.stream);
  check_cuda(cudaGetLastError(), op);
  return out;
}

// ---- gradient: sort the rows by target (stable, so that equal targets keep their order), then sum each run

template <typename Int> struct Plan {
  const int64_t* indices;
  int64_t points, rows, total, targets;  // rows per cloud, rows in all, rows of the result
  Int *key, *order, *begin, *end;        // [total], [total], [targets], [targets]
};

// Key of every row: its row in the result, `targets` for none.
template <typename Int> __global__ void __launch_bounds__(kThreads) make_keys(Plan<Int> plan) {
  MAE3D_GRID_STRIDE(i, plan.total) {
    const int64_t index = plan.indices[i];
    const bool present = index >= 0 && index < plan.points;
    plan.key[i] = static_cast<Int>(present ? i / plan.rows * plan.points + index : plan.targets);
    plan.order[i] = static_cast<Int>(i);
  }
}

// Where the run of every target begins and ends in the sorted keys.
template <typename Int> __global__ void __launch_bounds__(kThreads) find_runs(Plan<Int> plan, const Int* key) {
  MAE3D_GRID_STRIDE(i, plan.total) {
    const Int mine = key[i];
    if (static_cast<int64_t>(mine) >= plan.targets) continue;
    if (i == 0 || key[i - 1] != mine) plan.begin[mine] = static_cast<Int>(i);
    if (i + 1 == plan.total || key[i + 1] != mine) plan.end[mine] = static_cast<Int>(i + 1);
  }
}

// One warp per target: `lanes` threads share a row of the gradient, 32 / lanes rows are read at a time, and their
// sums are added in a fixed order.
template <typename T, typename Sum, typename Int>
__global__ void __launch_bounds__(kThreads) sum_runs(Plan<Int> plan, const Int* order, const T* gradient, T* out,
                                                     int64_t channels, int lanes) {
  const int lane = threadIdx.x % 32, channel = lane % lanes, first = lane / lanes, step = 32 / lanes;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kThreads / 32);
  for (int64_t t = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32; t < plan.targets; t += warps) {
    const int64_t begin = plan.begin[t], end = plan.end[t];
    for (int64_t base = 0; base < channels; base += lanes) {
      const int64_t c = base + channel;
      Sum sum = 0;
      if (c < channels)
        for (int64_t j = begin + first; j < end; j += step)
          sum += static_cast<Sum>(gradient[static_cast<int64_t>(order[j]) * channels + c]);
      for (int offset = lanes; offset < 32; offset *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
      if (first == 0 && c < channels) out[t * channels + c] = static_cast<T>(sum);
    }
  }
}

template <typename Int> ScalarType integer_type() {
  return sizeof(Int) == 4 ? ScalarType::Int : ScalarType::Long;
}

template <typename T, typename Int>
void backward(const Tensor& gradient, const Tensor& indices, const Tensor& out, cudaStream_t stream) {
  constexpr const char* op = "gather_points_backward";
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t points = out.size(1), channels = out.size(2), rows = indices.size(1);
  const int64_t total = indices.numel(), targets = out.size(0) * points;
  const Tensor memory = make_empty(out, {4 * total + 2 * targets}, integer_type<Int>());
  Int* key = static_cast<Int*>(memory.mutable_data_ptr());
  Int *order = key + total, *sorted_key = order + total, *sorted_order = sorted_key + total;
  Int *begin = sorted_order + total, *end = begin + targets;
  const Plan<Int> plan{cdata<int64_t>(indices), points, rows, total, targets, key, order, begin, end};

  check_cuda(cudaMemsetAsync(begin, 0, static_cast<size_t>(2 * targets) * sizeof(Int), stream), op);
  make_keys<<<grid_for(total, kThreads), kThreads, 0, stream>>>(plan);
  int bits = 1;
  while (bits < 63 && (targets >> bits) != 0) ++bits;  // keys are 0 .. targets
  size_t bytes = 0;
  check_cuda(cub::DeviceRadixSort::SortPairs(nullptr, bytes, key, sorted_key, order, sorted_order, total, 0, bits,
                                             stream), op);
  const Tensor scratch = make_empty(out, {static_cast<int64_t>(bytes)}, ScalarType::Byte);
  check_cuda(cub::DeviceRadixSort::SortPairs(scratch.mutable_data_ptr(), bytes, key, sorted_key, order, sorted_order,
                                             total, 0, bits, stream), op);
  find_runs<<<grid_for(total, kThreads), kThreads, 0, stream>>>(plan, sorted_key);
  sum_runs<T, Sum><<<grid_for(targets * 32, kThreads), kThreads, 0, stream>>>(
      plan, sorted_order, cdata<T>(gradient), mdata<T>(out), channels, lanes_for(channels, 32));
  check_cuda(cudaGetLastError(), op);
}

template <typename T>
void backward(const Tensor& gradient, const Tensor& indices, const Tensor& out, cudaStream_t stream) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const bool small = indices.numel() <= kMost && out.size(0) * out.size(1) < kMost;
  if (small) return backward<T, int32_t>(gradient, indices, out, stream);
  backward<T, int64_t>(gradient, indices, out, stream);
}

Tensor gather_points_backward(const Tensor& gradient, const Tensor& indices, int64_t num_points) {
  check_gradient(gradient, indices, num_points);
  const CudaScope scope(gradient);
  const Tensor g = as_contiguous(gradient), index = as_contiguous(indices);
  if (g.numel() == 0) return make_zeros(g, {g.size(0), num_points, g.size(2)}, g.scalar_type());
  const Tensor out = make_empty(g, {g.size(0), num_points, g.size(2)}, g.scalar_type());
  if (num_points == 0) return out;
  switch (g.scalar_type()) {
    case ScalarType::Float: backward<float>(g, index, out, scope.stream); break;
    case ScalarType::Double: backward<double>(g, index, out, scope.stream); break;
    case ScalarType::Half: backward<c10::Half>(g, index, out, scope.stream); break;
    case ScalarType::BFloat16: backward<c10::BFloat16>(g, index, out, scope.stream); break;
    default: fail_dtype(g);
  }
  return out;
}

}  // namespace
}  // namespace mae3d::gather

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("gather_points", TORCH_BOX(&mae3d::gather::gather_points));
  m.impl("gather_points_backward", TORCH_BOX(&mae3d::gather::gather_points_backward));
}
