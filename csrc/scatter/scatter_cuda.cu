// CUDA scatter: inputs are sorted by output row once, then one thread per (row, channel) walks its segment in
// ascending input order. Neighbouring threads read neighbouring channels; no atomics.
#include "scatter.h"
#include "segments.cuh"

namespace mae3d {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void reduce_kernel(const T* features, const int32_t* rows, const int32_t* begin, int64_t num_rows,
                              int64_t width, Reduce reduce, T* out, int64_t* counts, int32_t* arg) {
  using A = Accumulator<T>;
  MAE3D_GRID_STRIDE(k, num_rows * width) {
    const int64_t row = k / width, c = k % width;
    const int32_t first = begin[row], last = begin[row + 1];
    A best = first < last ? static_cast<A>(features[rows[first] * width + c]) : A{0};
    int32_t winner = first < last ? rows[first] : -1;
    for (int32_t j = first + 1; j < last; ++j) {
      const int32_t input = rows[j];
      const A value = static_cast<A>(features[input * width + c]);
      if (reduce == Reduce::kSum || reduce == Reduce::kMean) {
        best += value;
        continue;
      }
      const bool beyond = reduce == Reduce::kMax ? value > best : value < best;
      if (beyond || (value != value && best == best)) {
        best = value;
        winner = input;
      }
    }
    if (reduce == Reduce::kMean && last - first > 1) best /= static_cast<A>(last - first);
    out[k] = static_cast<T>(best);
    if (arg) arg[k] = winner;
  }
  MAE3D_GRID_STRIDE(row, num_rows) counts[row] = begin[row + 1] - begin[row];
}

template <typename T>
__global__ void backward_kernel(const T* grad, const int64_t* index, const int64_t* counts, const int32_t* arg,
                                int64_t inputs, int64_t num_rows, int64_t width, bool mean, T* out) {
  using A = Accumulator<T>;
  MAE3D_GRID_STRIDE(k, inputs * width) {
    const int64_t input = k / width, c = k % width, row = index[input];
    A value = 0;
    if (row >= 0 && row < num_rows) {
      const int64_t from = row * width + c;
      if (!arg || arg[from] == input) value = static_cast<A>(grad[from]);
      if (mean) value /= static_cast<A>(counts[row] < 1 ? 1 : counts[row]);
    }
    out[k] = static_cast<T>(value);
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> scatter_reduce_cuda(const Tensor& features, const Tensor& index, int64_t num_rows,
                                                       std::string reduce, bool with_arg) {
  check_scatter(features, index, num_rows);
  const Reduce kind = parse_reduce(reduce, "scatter_reduce");
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), i = as_contiguous(index);
  const int64_t width = f.size(1);
  const Tensor out = make_empty(f, {num_rows, width}, f.scalar_type());
  const Tensor counts = make_empty(f, {num_rows}, ScalarType::Long);
  const Tensor arg = make_empty(f, {is_extreme(kind) && with_arg ? num_rows : 0, width}, ScalarType::Int);
  const Segments segments = find_segments(i, num_rows, scope.stream, "scatter_reduce");
  dispatch_float(f, "scatter_reduce", "features", [&](auto zero) {
    using T = decltype(zero);
    reduce_kernel<T><<<grid_for(num_rows * std::max<int64_t>(width, 1), kThreads), kThreads, 0, scope.stream>>>(
        cdata<T>(f), cdata<int32_t>(segments.rows), cdata<int32_t>(segments.begin), num_rows, width, kind,
        mdata<T>(out), mdata<int64_t>(counts), arg.size(0) ? mdata<int32_t>(arg) : nullptr);
  });
  check_cuda(cudaGetLastError(), "scatter_reduce");
  return {out, counts, arg};
}

Tensor scatter_reduce_backward_cuda(const Tensor& grad, const Tensor& index, const Tensor& counts, const Tensor& arg,
                                    std::string reduce) {
  const Reduce kind = parse_reduce(reduce, "scatter_reduce_backward");
  check_scatter_backward(grad, index, counts, arg, kind);
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), i = as_contiguous(index), n = as_contiguous(counts), a = as_contiguous(arg);
  const int64_t inputs = i.size(0), width = g.size(1);
  const Tensor out = make_empty(g, {inputs, width}, g.scalar_type());
  dispatch_float(g, "scatter_reduce_backward", "grad", [&](auto zero) {
    using T = decltype(zero);
    backward_kernel<T><<<grid_for(inputs * width, kThreads), kThreads, 0, scope.stream>>>(
        cdata<T>(g), cdata<int64_t>(i), cdata<int64_t>(n), is_extreme(kind) ? cdata<int32_t>(a) : nullptr, inputs,
        g.size(0), width, kind == Reduce::kMean, mdata<T>(out));
  });
  check_cuda(cudaGetLastError(), "scatter_reduce_backward");
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("scatter_reduce", TORCH_BOX(&scatter_reduce_cuda));
  m.impl("scatter_reduce_backward", TORCH_BOX(&scatter_reduce_backward_cuda));
}

}  // namespace mae3d
