// CUDA windows: arithmetic per voxel, then one stable radix sort whose runs are the windows.
#include "../common/sorted_groups.cuh"
#include "window.h"

namespace mae3d {
namespace {

constexpr int kThreads = 256;

__global__ void partition_kernel(const int64_t* coordinates, int64_t n, WindowGeometry g, int64_t* windows,
                                 int64_t* inside) {
  MAE3D_GRID_STRIDE(i, n) {
    const int64_t* c = coordinates + 4 * i;
    bool keep = c[0] >= 0 && c[0] <= g.largest_cloud;
    for (int a = 0; a < 3; ++a) keep = keep && c[3 - a] >= 0 && c[3 - a] < g.grid[a];
    int64_t id = keep ? c[0] : 0;
    for (int a = 0; a < 3; ++a) {  // x, y, z
      const int64_t s = keep ? c[3 - a] + g.shift[a] : 0;
      id = id * g.count[a] + s / g.window[a];
      inside[3 * i + 2 - a] = keep ? s % g.window[a] : -1;
    }
    windows[i] = keep ? id : -1;
  }
}

__global__ void layout_keys_kernel(const int64_t* windows, int64_t n, int64_t none, int64_t* keys) {
  MAE3D_GRID_STRIDE(i, n) keys[i] = windows[i] < 0 || windows[i] > none ? none : windows[i];
}

struct Sizes {
  long long kept, windows, longest;
};

__global__ void sizes_kernel(const int64_t* keys, const int32_t* number, const int32_t* begin, int64_t n, int64_t none,
                             Sizes* sizes) {
  MAE3D_GRID_STRIDE(j, n) {
    if (keys[j] == none) continue;
    if (j == n - 1 || keys[j + 1] == none) {
      sizes->kept = j + 1;
      sizes->windows = number[j];
    }
    const int32_t run = number[j] - 1;
    if (j == begin[run]) atomicMax(&sizes->longest, static_cast<long long>(begin[run + 1] - begin[run]));
  }
}

__global__ void layout_kernel(const int64_t* keys, const int32_t* rows, const int32_t* number, const int32_t* begin,
                              int64_t n, int64_t kept, int64_t* order, int64_t* offsets, int64_t* present,
                              int64_t* inverse) {
  MAE3D_GRID_STRIDE(j, n) {
    inverse[rows[j]] = j < kept ? j : -1;
    if (j >= kept) continue;
    order[j] = rows[j];
    const int32_t run = number[j] - 1;
    if (j == begin[run]) {
      offsets[run] = j;
      present[run] = keys[j];
    }
    if (j == kept - 1) offsets[run + 1] = kept;
  }
}

}  // namespace

std::tuple<Tensor, Tensor> window_partition_cuda(const Tensor& coordinates, std::vector<int64_t> window,
                                                 std::vector<int64_t> grid, bool shifted) {
  const WindowGeometry g = check_window_arguments(coordinates, window, grid, shifted);
  const CudaScope scope(coordinates);
  const Tensor c = as_contiguous(coordinates);
  const int64_t n = c.size(0);
  const Tensor windows = make_empty(c, {n}, ScalarType::Long), inside = make_empty(c, {n, 3}, ScalarType::Long);
  partition_kernel<<<grid_for(n, kThreads), kThreads, 0, scope.stream>>>(cdata<int64_t>(c), n, g,
                                                                         mdata<int64_t>(windows),
                                                                         mdata<int64_t>(inside));
  check_cuda(cudaGetLastError(), "window_partition");
  return {windows, inside};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> window_attention_layout_cuda(const Tensor& windows, int64_t bound) {
  const char* op = "window_attention_layout";
  check_layout_arguments(windows, bound);
  const CudaScope scope(windows);
  const Tensor w = as_contiguous(windows);
  const int64_t n = w.size(0), none = bound ? bound : INT64_MAX;
  const Tensor keys = make_empty(w, {n}, ScalarType::Long);
  const unsigned blocks = grid_for(n, kThreads);
  layout_keys_kernel<<<blocks, kThreads, 0, scope.stream>>>(cdata<int64_t>(w), n, none, mdata<int64_t>(keys));
  const SortedRows sorted = sort_rows(keys, bits_for(none), scope.stream, op);
  const Runs runs = number_runs(sorted.keys, scope.stream, op);
  const Tensor sizes = make_zeros(w, {3}, ScalarType::Long);
  sizes_kernel<<<blocks, kThreads, 0, scope.stream>>>(cdata<int64_t>(sorted.keys), cdata<int32_t>(runs.number),
                                                      cdata<int32_t>(runs.begin), n, none,
                                                      static_cast<Sizes*>(sizes.mutable_data_ptr()));
  const Tensor max_length = torch::stable::empty(std::vector<int64_t>{}, ScalarType::Long, std::nullopt,
                                                 torch::stable::Device(torch::headeronly::DeviceType::CPU));
  Sizes host{};
  check_cuda(cudaMemcpyAsync(&host, sizes.data_ptr(), sizeof host, cudaMemcpyDeviceToHost, scope.stream), op);
  check_cuda(cudaStreamSynchronize(scope.stream), op);
  *mdata<int64_t>(max_length) = host.longest;

  const Tensor order = make_empty(w, {host.kept}, ScalarType::Long), inverse = make_empty(w, {n}, ScalarType::Long);
  const Tensor offsets = make_zeros(w, {host.windows + 1}, ScalarType::Long);
  const Tensor present = make_empty(w, {host.windows}, ScalarType::Long);
  layout_kernel<<<blocks, kThreads, 0, scope.stream>>>(
      cdata<int64_t>(sorted.keys), cdata<int32_t>(sorted.rows), cdata<int32_t>(runs.number), cdata<int32_t>(runs.begin),
      n, host.kept, mdata<int64_t>(order), mdata<int64_t>(offsets), mdata<int64_t>(present), mdata<int64_t>(inverse));
  check_cuda(cudaGetLastError(), op);
  return {order, offsets, present, inverse, max_length};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("window_partition", TORCH_BOX(&window_partition_cuda));
  m.impl("window_attention_layout", TORCH_BOX(&window_attention_layout_cuda));
}

}  // namespace mae3d
