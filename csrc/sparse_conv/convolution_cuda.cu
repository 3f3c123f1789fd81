// Sparse convolution and its weight gradient on the device, without atomics.
//
// Forward: a block owns 64 or 128 output rows and 64 channels, whose sums stay in shared memory. For each offset it
// lists the rows that have a neighbour (7 of 100 in a lidar scene) and multiplies only those, 32 at a time: work
// follows the number of pairs, each row is written once, and the order of additions is fixed.
// Weight gradient: a block owns a tile of one offset's matrix and a range of output rows; a second kernel adds the
// ranges in order. float16 and bfloat16 run on tensor cores; float32 and float64 use ordinary arithmetic.
#include "sparse_conv.h"
#include "tile_product.cuh"

namespace mae3d::sparse_conv {
namespace {

constexpr const char* kForward = "sparse_conv";
constexpr const char* kWeightGrad = "sparse_conv_weight_grad";
constexpr int kPairs = 32;       // pairs multiplied together
constexpr int kPartRows = 1024;  // output rows listed together in the weight gradient

void check_launch(const char* op, cudaError_t status) {
  MAE3D_CHECK(status == cudaSuccess, op, ": ", cudaGetErrorString(status));
}

// Weight as [K, depth, width], last axis contiguous.
template <typename T>
__global__ void pack_weight_kernel(const T* weight, int64_t volume, int64_t depth, int64_t width, bool transposed,
                                   T* packed) {
  MAE3D_GRID_STRIDE(i, volume * depth * width) {
    const int64_t n = i % width, c = i / width % depth, k = i / (width * depth);
    packed[i] = transposed ? weight[(c * volume + k) * width + n] : weight[(n * volume + k) * depth + c];
  }
}

// `terms` as a depth of Product::add: tiles are zero beyond the terms, so rounding up adds nothing.
template <typename Product> __device__ int whole_steps(int64_t terms) {
  const int64_t rounded = (terms + Product::kStep - 1) / Product::kStep * Product::kStep;
  return static_cast<int>(min(rounded, static_cast<int64_t>(Product::kDepth)));
}

template <typename T> struct ForwardArguments {
  const T* features;  // [input_rows, depth]
  const T* weight;    // [volume, depth, width]
  const T* bias;      // [width] or null
  const int32_t* gather;
  T* result;          // [rows, width]
  int64_t input_rows, depth, volume, rows, width;
  bool wide_features, wide_weight;  // rows can be read 16 bytes at a time
};

template <typename Product, int kRows> struct ForwardShared {
  using T = typename Product::Element;
  static constexpr int kStrideA = Product::kDepth + Product::kPad, kStrideB = kColumns + Product::kPad;
  alignas(32) typename Product::Sum sums[kRows * kAccStride];
  alignas(32) typename Product::Sum part[kPairs * kAccStride];
  alignas(32) T a[kPairs * kStrideA];
  alignas(32) T b[Product::kDepth * kStrideB];
  int32_t in[kRows], out[kRows], warp_totals[kWarps];
};

template <typename Product, int kRows>
__global__ void __launch_bounds__(kBlock) forward_kernel(ForwardArguments<typename Product::Element> g) {
  using T = typename Product::Element;
  using Sum = typename Product::Sum;
  using Shared = ForwardShared<Product, kRows>;
  extern __shared__ __align__(32) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kRows;
  const int64_t last_row = min(first_row + kRows, g.rows), first_column = static_cast<int64_t>(blockIdx.y) * kColumns;
  for (int i = threadIdx.x; i < kRows * kColumns; i += kBlock) {
    const int64_t n = first_column + i % kColumns;
    s.sums[i / kColumns * kAccStride + i % kColumns] = g.bias && n < g.width ? static_cast<Sum>(g.bias[n]) : Sum(0);
  }
  for (int64_t k = 0; k < g.volume; ++k) {
    const int count =
        collect_pairs(g.gather + k * g.rows, first_row, last_row, g.input_rows, s.in, s.out, s.warp_totals);
    for (int first = 0; first < count; first += kPairs) {
      const int pairs = min(kPairs, count - first);
      Product product;
      product.clear();
      for (int64_t c = 0; c < g.depth; c += Product::kDepth) {
        load_tile<T, kPairs, Product::kDepth, Shared::kStrideA>(
            s.a, g.features, g.depth, c, pairs, g.wide_features,
            [&](int r) { return static_cast<int64_t>(s.in[first + r]); });
        load_tile<T, Product::kDepth, kColumns, Shared::kStrideB>(
            s.b, g.weight + k * g.depth * g.width, g.width, first_column,
            static_cast<int>(min(static_cast<int64_t>(Product::kDepth), g.depth - c)), g.wide_weight,
            [&](int r) { return c + r; });
        __syncthreads();
        product.template add<false, Shared::kStrideA, Shared::kStrideB>(s.a, s.b, whole_steps<Product>(g.depth - c));
        __syncthreads();
      }
      product.store(s.part);
      __syncthreads();
      for (int i = threadIdx.x; i < pairs * kColumns; i += kBlock) {  // rows of one offset are distinct
        const int p = i / kColumns, n = i % kColumns;
        s.sums[s.out[first + p] * kAccStride + n] += s.part[p * kAccStride + n];
      }
      __syncthreads();
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kRows * kColumns; i += kBlock) {
    const int64_t row = first_row + i / kColumns, n = first_column + i % kColumns;
    if (row < last_row && n < g.width)
      g.result[row * g.width + n] = static_cast<T>(s.sums[i / kColumns * kAccStride + i % kColumns]);
  }
}

template <typename T> struct GradArguments {
  const T* features;  // [input_rows, depth]
  const T* grad;      // [rows, width]
  const int32_t* gather;
  void* partial;      // [parts, volume, depth, width] in the type of the sums
  int64_t input_rows, depth, volume, rows, width, parts;
  bool wide_features, wide_grad;
};

template <typename Product> struct GradShared {
  using T = typename Product::Element;
  static constexpr int kStride = kColumns + Product::kPad;
  alignas(32) typename Product::Sum part[kColumns * kAccStride];
  alignas(32) T left[kPairs * kStride];
  alignas(32) T right[kPairs * kStride];
  int32_t in[kPartRows], out[kPartRows], warp_totals[kWarps];
};

// blockIdx.x: offset and range of rows; y, z: tile of 64 x 64 of the matrix.
template <typename Product>
__global__ void __launch_bounds__(kBlock) weight_grad_kernel(GradArguments<typename Product::Element> g) {
  using T = typename Product::Element;
  using Sum = typename Product::Sum;
  using Shared = GradShared<Product>;
  extern __shared__ __align__(32) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  const int64_t k = blockIdx.x / g.parts, part = blockIdx.x % g.parts;
  const int64_t first_c = static_cast<int64_t>(blockIdx.y) * kColumns, first_n = static_cast<int64_t>(blockIdx.z) * kColumns;
  const int64_t begin = g.rows * part / g.parts, end = g.rows * (part + 1) / g.parts;
  Product product;
  product.clear();
  for (int64_t base = begin; base < end; base += kPartRows) {
    const int count = collect_pairs(g.gather + k * g.rows, base, min(base + kPartRows, end), g.input_rows, s.in, s.out,
                                    s.warp_totals);
    for (int first = 0; first < count; first += kPairs) {
      const int pairs = min(kPairs, count - first);
      load_tile<T, kPairs, kColumns, Shared::kStride>(s.left, g.features, g.depth, first_c, pairs, g.wide_features,
                                                      [&](int r) { return static_cast<int64_t>(s.in[first + r]); });
      load_tile<T, kPairs, kColumns, Shared::kStride>(s.right, g.grad, g.width, first_n, pairs, g.wide_grad,
                                                      [&](int r) { return base + s.out[first + r]; });
      __syncthreads();
      product.template add<true, Shared::kStride, Shared::kStride>(s.left, s.right, whole_steps<Product>(pairs));
      __syncthreads();
    }
  }
  product.store(s.part);
  __syncthreads();
  Sum* target = static_cast<Sum*>(g.partial) + (part * g.volume + k) * g.depth * g.width;
  for (int i = threadIdx.x; i < kColumns * kColumns; i += kBlock) {
    const int64_t c = first_c + i / kColumns, n = first_n + i % kColumns;
    if (c < g.depth && n < g.width) target[c * g.width + n] = s.part[i / kColumns * kAccStride + i % kColumns];
  }
}

// Adds the parts in order and brings the axes into the order of the weight.
template <typename T, typename Sum>
__global__ void add_parts_kernel(const Sum* partial, int64_t parts, int64_t volume, int64_t depth, int64_t width,
                                 bool transposed, T* result) {
  const int64_t size = volume * depth * width;
  MAE3D_GRID_STRIDE(i, size) {
    Sum total = partial[i];
    for (int64_t p = 1; p < parts; ++p) total += partial[p * size + i];
    const int64_t n = i % width, c = i / width % depth, k = i / (width * depth);
    result[transposed ? (c * volume + k) * width + n : (n * volume + k) * depth + c] = static_cast<T>(total);
  }
}

template <typename T> bool is_wide(const T* data, int64_t width) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && width * static_cast<int64_t>(sizeof(T)) % 16 == 0;
}

template <typename Kernel> void allow_shared(const char* op, Kernel kernel, size_t bytes) {
  check_launch(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

template <typename T, typename Product, int kRows>
Tensor convolve(const Tensor& features, const Tensor& weight, const OptionalTensor& bias, const Tensor& gather,
                bool transposed, ScalarType dtype, cudaStream_t stream) {
  ForwardArguments<T> g{};
  g.input_rows = features.size(0), g.depth = features.size(1);
  g.volume = gather.size(0), g.rows = gather.size(1), g.width = weight.size(transposed ? 2 : 0);
  Tensor result = make_empty(features, {g.rows, g.width}, dtype);
  if (g.rows == 0 || g.width == 0) return result;
  Tensor packed = make_empty(weight, {g.volume, g.depth, g.width}, dtype);
  T* w = static_cast<T*>(packed.mutable_data_ptr());
  const int64_t entries = g.volume * g.depth * g.width;
  pack_weight_kernel<T><<<grid_for(entries, kBlock), kBlock, 0, stream>>>(cdata<T>(weight), g.volume, g.depth, g.width,
                                                                          transposed, w);
  g.features = cdata<T>(features), g.weight = w, g.bias = bias.has_value() ? cdata<T>(*bias) : nullptr;
  g.gather = cdata<int32_t>(gather), g.result = static_cast<T*>(result.mutable_data_ptr());
  g.wide_features = is_wide(g.features, g.depth), g.wide_weight = is_wide(g.weight, g.width);
  const size_t bytes = sizeof(ForwardShared<Product, kRows>);
  allow_shared(kForward, forward_kernel<Product, kRows>, bytes);
  const dim3 grid(static_cast<unsigned>(ceil_div<int64_t>(g.rows, kRows)),
                  static_cast<unsigned>(ceil_div<int64_t>(g.width, kColumns)));
  forward_kernel<Product, kRows><<<grid, kBlock, bytes, stream>>>(g);
  check_launch(kForward, cudaGetLastError());
  return result;
}

template <typename T, typename Product>
Tensor weight_grad(const Tensor& features, const Tensor& grad, const Tensor& gather, bool transposed, ScalarType dtype,
                   cudaStream_t stream) {
  using Sum = typename Product::Sum;
  GradArguments<T> g{};
  g.input_rows = features.size(0), g.depth = features.size(1);
  g.volume = gather.size(0), g.rows = gather.size(1), g.width = grad.size(1);
  const int64_t entries = g.volume * g.depth * g.width;
  const std::initializer_list<int64_t> sizes = {transposed ? g.depth : g.width, g.volume, transposed ? g.width : g.depth};
  Tensor result = make_empty(features, sizes, dtype);
  if (entries == 0) return result;
  g.parts = std::clamp<int64_t>(ceil_div<int64_t>(g.rows, 4 * kPartRows), 1, 64);
  const ScalarType sum_type = sizeof(Sum) == 8 ? ScalarType::Double : ScalarType::Float;
  Tensor partial = make_empty(features, {g.parts, entries}, sum_type);
  g.partial = partial.mutable_data_ptr();
  g.features = cdata<T>(features), g.grad = cdata<T>(grad), g.gather = cdata<int32_t>(gather);
  g.wide_features = is_wide(g.features, g.depth), g.wide_grad = is_wide(g.grad, g.width);
  const size_t bytes = sizeof(GradShared<Product>);
  allow_shared(kWeightGrad, weight_grad_kernel<Product>, bytes);
  const dim3 grid(static_cast<unsigned>(g.volume * g.parts), static_cast<unsigned>(ceil_div<int64_t>(g.depth, kColumns)),
                  static_cast<unsigned>(ceil_div<int64_t>(g.width, kColumns)));
  weight_grad_kernel<Product><<<grid, kBlock, bytes, stream>>>(g);
  add_parts_kernel<T, Sum><<<grid_for(entries, kBlock), kBlock, 0, stream>>>(
      static_cast<const Sum*>(g.partial), g.parts, g.volume, g.depth, g.width, transposed,
      static_cast<T*>(result.mutable_data_ptr()));
  check_launch(kWeightGrad, cudaGetLastError());
  return result;
}

[[noreturn]] void fail_dtype(const char* op, ScalarType dtype) {
  fail(op, ": 'features' must have dtype float32, float64, float16 or bfloat16, got ", toString(dtype));
}

void check_width(const char* op, int64_t channels) {
  MAE3D_CHECK(channels <= 65535 * kColumns, op, ": ", channels, " channels are too many");
}

Tensor sparse_conv(const Tensor& features, const Tensor& weight, const OptionalTensor& bias, const Tensor& gather,
                   const OptionalTensor& scatter, bool transposed) {
  check_product(kForward, features, gather);
  check_weight(kForward, features, weight, bias, gather, transposed);
  check_scatter(kForward, scatter, features, gather);
  check_width(kForward, weight.size(transposed ? 2 : 0));
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), w = as_contiguous(weight), table = as_contiguous(gather);
  const OptionalTensor b = bias.has_value() ? OptionalTensor(as_contiguous(*bias)) : std::nullopt;
  const ScalarType dtype = features.scalar_type();
  switch (dtype) {
    case ScalarType::Float:
      return convolve<float, PlainProduct<float, kPairs>, 128>(f, w, b, table, transposed, dtype, scope.stream);
    case ScalarType::Double:
      return convolve<double, PlainProduct<double, kPairs>, 64>(f, w, b, table, transposed, dtype, scope.stream);
    case ScalarType::Half:
      return convolve<__half, TensorProduct<__half, kPairs>, 128>(f, w, b, table, transposed, dtype, scope.stream);
    case ScalarType::BFloat16:
      return convolve<__nv_bfloat16, TensorProduct<__nv_bfloat16, kPairs>, 128>(f, w, b, table, transposed, dtype,
                                                                                scope.stream);
    default: fail_dtype(kForward, dtype);
  }
}

Tensor sparse_conv_weight_grad(const Tensor& features, const Tensor& grad, const Tensor& gather,
                               const OptionalTensor& scatter, bool transposed) {
  check_product(kWeightGrad, features, gather);
  check_dim(grad, 2, kWeightGrad, "grad");
  check_dtype(grad, features.scalar_type(), kWeightGrad, "grad");
  check_same_device(features, grad, kWeightGrad, "grad");
  check_size(grad, 0, gather.size(1), kWeightGrad, "grad");
  check_scatter(kWeightGrad, scatter, features, gather);
  check_width(kWeightGrad, std::max(features.size(1), grad.size(1)));
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), g = as_contiguous(grad), table = as_contiguous(gather);
  const ScalarType dtype = features.scalar_type();
  switch (dtype) {
    case ScalarType::Float:
      return weight_grad<float, PlainProduct<float, kColumns>>(f, g, table, transposed, dtype, scope.stream);
    case ScalarType::Double:
      return weight_grad<double, PlainProduct<double, kColumns>>(f, g, table, transposed, dtype, scope.stream);
    case ScalarType::Half:
      return weight_grad<__half, TensorProduct<__half, kColumns>>(f, g, table, transposed, dtype, scope.stream);
    case ScalarType::BFloat16:
      return weight_grad<__nv_bfloat16, TensorProduct<__nv_bfloat16, kColumns>>(f, g, table, transposed, dtype,
                                                                                scope.stream);
    default: fail_dtype(kWeightGrad, dtype);
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("sparse_conv", TORCH_BOX(&sparse_conv));
  m.impl("sparse_conv_weight_grad", TORCH_BOX(&sparse_conv_weight_grad));
}

}  // namespace mae3d::sparse_conv
