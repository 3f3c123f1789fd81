#include "box_iou.h"

#include "../common/cuda.cuh"

namespace mae3d {
namespace {

using boxes::Box;
using boxes::kParameters;

constexpr int kThreads = 128;

template <typename T> __global__ void load_boxes(const T* values, int64_t count, Box* list) {
  MAE3D_GRID_STRIDE(i, count) list[i] = boxes::load_box(values + i * kParameters);
}

// One thread per pair: most leave after the test of circles.
template <typename T>
__global__ void pair_values(const Box* a, const Box* b, int64_t batch, int64_t n, int64_t m, int64_t kind, T* values) {
  MAE3D_GRID_STRIDE(i, batch * n * m) {
    const int64_t row = i / m;
    const Box &x = a[row], &y = b[row / n * m + i % m];
    values[i] = static_cast<T>(x.valid && y.valid ? boxes::parts_of<false>(kind, x, y).value()
                                                  : boxes::value_of_invalid(kind));
  }
}

// One block per box of one side. Threads share out the partners, partial sums are added in a fixed tree.
template <typename T, bool kOfA>
__global__ void rows_gradient(const Box* own, const Box* others, const T* grad, int64_t batch, int64_t n, int64_t m,
                              int64_t kind, T* result) {
  __shared__ double partial[kThreads];
  const int64_t along = kOfA ? m : 1, across = kOfA ? 1 : n;
  for (int64_t row = blockIdx.x; row < batch * n; row += gridDim.x) {
    const int64_t pair = row / n, i = row % n;
    const Box& box = own[row];
    double sum[kParameters] = {};
    for (int64_t j = threadIdx.x; box.valid && j < m; j += kThreads) {
      const double scale = grad[pair * n * m + i * along + j * across];
      const Box& partner = others[pair * m + j];
      if (scale == 0 || !partner.valid) continue;
      const auto parts = kOfA ? boxes::parts_of<true>(kind, box, partner) : boxes::parts_of<true>(kind, partner, box);
      boxes::add_gradient(parts, box, kOfA ? 0 : 1, scale, sum);
    }
    for (int k = 0; k < kParameters; ++k) {
      partial[threadIdx.x] = sum[k];
      __syncthreads();
      for (int width = kThreads / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) partial[threadIdx.x] += partial[threadIdx.x + width];
        __syncthreads();
      }
      if (threadIdx.x == 0) result[row * kParameters + k] = static_cast<T>(partial[0]);
      __syncthreads();
    }
  }
}

// Boxes with sine and cosine, in a byte tensor that lives as long as the caller keeps it.
template <typename T> Tensor load_all(const Tensor& values, cudaStream_t stream) {
  const int64_t count = values.size(0) * values.size(1);
  Tensor memory = make_empty(values, {count * static_cast<int64_t>(sizeof(Box))}, ScalarType::Byte);
  if (count)
    load_boxes<<<grid_for(count, kThreads), kThreads, 0, stream>>>(cdata<T>(values), count,
                                                                   reinterpret_cast<Box*>(mdata<uint8_t>(memory)));
  return memory;
}

const Box* list_of(const Tensor& memory) { return reinterpret_cast<const Box*>(cdata<uint8_t>(memory)); }

template <typename T>
void all_values(const Tensor& a, const Tensor& b, int64_t kind, Tensor& values, cudaStream_t stream) {
  const int64_t batch = a.size(0), n = a.size(1), m = b.size(1);
  if (batch * n * m == 0) return;
  const Tensor la = load_all<T>(a, stream), lb = load_all<T>(b, stream);
  pair_values<<<grid_for(batch * n * m, kThreads), kThreads, 0, stream>>>(list_of(la), list_of(lb), batch, n, m, kind,
                                                                          mdata<T>(values));
}

template <typename T>
void all_gradients(const Tensor& grad, const Tensor& a, const Tensor& b, int64_t kind, Tensor& grad_a, Tensor& grad_b,
                   cudaStream_t stream) {
  const int64_t batch = a.size(0), n = a.size(1), m = b.size(1);
  const Tensor la = load_all<T>(a, stream), lb = load_all<T>(b, stream);
  const T* g = cdata<T>(grad);
  if (batch * n)
    rows_gradient<T, true><<<grid_for(batch * n, 1), kThreads, 0, stream>>>(list_of(la), list_of(lb), g, batch, n, m,
                                                                            kind, mdata<T>(grad_a));
  if (batch * m)
    rows_gradient<T, false><<<grid_for(batch * m, 1), kThreads, 0, stream>>>(list_of(lb), list_of(la), g, batch, m, n,
                                                                             kind, mdata<T>(grad_b));
}

void check_launch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  MAE3D_CHECK(error == cudaSuccess, op, ": CUDA kernel launch failed: ", cudaGetErrorString(error));
}

}  // namespace

Tensor box_iou_cuda(const Tensor a, const Tensor b, int64_t kind) {
  const CudaScope scope(a);
  boxes::check_pairs(a, b, kind, "box_iou");
  const Tensor ca = as_contiguous(a), cb = as_contiguous(b);
  Tensor values = make_empty(a, {a.size(0), a.size(1), b.size(1)}, a.scalar_type());
  a.scalar_type() == ScalarType::Float ? all_values<float>(ca, cb, kind, values, scope.stream)
                                       : all_values<double>(ca, cb, kind, values, scope.stream);
  check_launch("box_iou");
  return values;
}

std::tuple<Tensor, Tensor> box_iou_backward_cuda(const Tensor grad, const Tensor a, const Tensor b, int64_t kind) {
  const char* op = "box_iou_backward";
  const CudaScope scope(a);
  boxes::check_pairs(a, b, kind, op);
  boxes::check_grad(grad, a, b, op);
  const Tensor g = as_contiguous(grad), ca = as_contiguous(a), cb = as_contiguous(b);
  Tensor grad_a = torch::stable::new_empty(a, a.sizes(), a.scalar_type());
  Tensor grad_b = torch::stable::new_empty(b, b.sizes(), b.scalar_type());
  a.scalar_type() == ScalarType::Float ? all_gradients<float>(g, ca, cb, kind, grad_a, grad_b, scope.stream)
                                       : all_gradients<double>(g, ca, cb, kind, grad_a, grad_b, scope.stream);
  check_launch(op);
  return {grad_a, grad_b};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou_cuda));
  m.impl("box_iou_backward", TORCH_BOX(&box_iou_backward_cuda));
}

}  // namespace mae3d
