// CUDA plumbing: the caller's stream and device, launch checks, grid sizes.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include "geometry.h"
#include "tensor.h"

namespace mae3d {

// Makes the device of `t` current for its lifetime and holds the stream that torch uses there.
struct CudaScope {
  explicit CudaScope(const Tensor& t) : guard(t.get_device_index()) {
    void* s = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &s));
    stream = static_cast<cudaStream_t>(s);
  }
  torch::stable::accelerator::DeviceGuard guard;
  cudaStream_t stream = nullptr;
};

template <typename T> MAE3D_HD T ceil_div(T a, T b) { return (a + b - 1) / b; }

// Blocks for a grid-stride loop over n items; the cap keeps the grid legal for any n.
inline unsigned grid_for(int64_t n, int threads) {
  const int64_t blocks = ceil_div<int64_t>(n < 1 ? 1 : n, threads);
  return static_cast<unsigned>(blocks < 1048576 ? blocks : 1048576);
}

#define MAE3D_GRID_STRIDE(i, n)                                                                  \
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < (n);         \
       i += static_cast<int64_t>(gridDim.x) * blockDim.x)

}  // namespace mae3d
