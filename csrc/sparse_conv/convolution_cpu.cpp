// Sparse convolution and its weight gradient on the CPU: output-stationary products over gathered rows.
//
// Blocks of output rows are the tasks: each collects, offset by offset, the pairs of its rows and adds their
// products, so no two threads write one row and the order of additions is fixed.
#include "../common/parallel.h"
#include "gather_gemm.h"
#include "sparse_conv.h"

namespace mae3d::sparse_conv {
namespace {

constexpr const char* kForward = "sparse_conv";
constexpr const char* kWeightGrad = "sparse_conv_weight_grad";

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// The pairs of one offset among a range of output rows.
struct Pairs {
  explicit Pairs(int64_t rows)
      : in(static_cast<size_t>(rows + kListMargin)), out(static_cast<size_t>(rows + kListMargin)) {}

  template <typename T>
  void collect(const char* op, const RowKernels<T>& kernels, const int32_t* table, int64_t begin, int64_t end,
               int64_t input_rows) {
    int32_t largest = -1;
    count = kernels.collect_pairs(table, begin, end, in.data(), out.data(), largest);
    MAE3D_CHECK(largest < input_rows, op, ": 'gather' holds row ", largest, ", but there are only ", input_rows);
  }

  std::vector<int32_t> in, out;
  int64_t count = 0;
};

// The weight as one matrix [depth, width] per offset, cut into panels of `max_vectors` vectors; the last panel
// is as narrow as the width allows, padded with zeros to whole vectors.
template <typename T>
Tensor pack_weight(const Tensor& source, int64_t depth, int64_t width, bool transposed, const RowKernels<T>& kernels) {
  const int64_t volume = source.size(1), padded = round_up(width, kernels.lanes);
  const int64_t panel = kernels.lanes * kernels.max_vectors;
  Tensor result = make_zeros(source, {volume, depth, padded}, source.scalar_type());
  const T* weight = cdata<T>(source);
  T* packed = mdata<T>(result);
  parallel_for(0, volume, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, depth * padded)), [&](int64_t b, int64_t e) {
    for (int64_t k = b; k < e; ++k)
      for (int64_t first = 0; first < width; first += panel) {
        const int64_t columns = std::min(panel, padded - first);
        T* target = packed + (k * padded + first) * depth;
        for (int64_t n = 0; n < std::min(columns, width - first); ++n)
          for (int64_t c = 0; c < depth; ++c)
            target[c * columns + n] = transposed ? weight[(c * volume + k) * width + first + n]
                                                 : weight[((first + n) * volume + k) * depth + c];
      }
  });
  return result;
}

// [rows, from] -> [rows, to], cut or padded with zeros.
template <typename T> void copy_columns(const T* source, int64_t from, T* target, int64_t to, int64_t rows) {
  const int64_t shared = std::min(from, to);
  parallel_for(0, rows, 4096, [&](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) {
      std::copy_n(source + r * from, shared, target + r * to);
      std::fill_n(target + r * to + shared, to - shared, T(0));
    }
  });
}

template <typename T>
Tensor convolve(const Tensor& features, const Tensor& weight, const OptionalTensor& bias, const Tensor& gather,
                bool transposed) {
  const RowKernels<T>& kernels = row_kernels<T>();
  const int64_t volume = gather.size(0), rows = gather.size(1), input_rows = features.size(0);
  const int64_t depth = features.size(1), width = weight.size(transposed ? 2 : 0);
  const int64_t padded = round_up(width, kernels.lanes);
  const Tensor packed = pack_weight<T>(weight, depth, width, transposed, kernels);
  std::vector<T> start(static_cast<size_t>(padded), T(0));
  if (bias.has_value()) std::copy_n(cdata<T>(*bias), width, start.data());

  Tensor result = make_empty(features, {rows, padded}, features.scalar_type());
  T* out = mdata<T>(result);
  const int32_t* table = cdata<int32_t>(gather);
  // The rows of a block stay in the second-level cache while all offsets pass over them.
  const int64_t block = std::clamp<int64_t>(65536 / std::max<int64_t>(1, padded), 256, 4096);
  parallel_tasks((rows + block - 1) / block, [&](int64_t task) {
    const int64_t begin = task * block, end = std::min(begin + block, rows);
    for (int64_t o = begin; o < end; ++o) std::copy_n(start.data(), padded, out + o * padded);
    Pairs pairs(end - begin);
    for (int64_t k = 0; k < volume; ++k) {
      pairs.collect(kForward, kernels, table + k * rows, begin, end, input_rows);
      kernels.gather_gemm({cdata<T>(features), depth, cdata<T>(packed) + k * depth * padded, out, padded,
                           pairs.in.data(), pairs.out.data(), pairs.count});
    }
  });
  if (padded == width) return result;
  Tensor cut = make_empty(features, {rows, width}, features.scalar_type());
  copy_columns(out, padded, mdata<T>(cut), width, rows);
  return cut;
}

template <typename T>
Tensor weight_grad(const Tensor& features, const Tensor& grad, const Tensor& gather, bool transposed) {
  const RowKernels<T>& kernels = row_kernels<T>();
  const int64_t volume = gather.size(0), rows = gather.size(1), input_rows = features.size(0);
  const int64_t depth = features.size(1), width = grad.size(1), padded = round_up(width, kernels.lanes);
  Tensor right = grad;
  if (padded != width) {
    right = make_empty(grad, {rows, padded}, grad.scalar_type());
    copy_columns(cdata<T>(grad), width, mdata<T>(right), padded, rows);
  }
  // Partial sums over fixed ranges of output rows, added in their order: the same for every number of threads.
  const int64_t parts = std::clamp<int64_t>(rows / 8192, 1, 16), part = (rows + parts - 1) / parts;
  const int64_t matrix = depth * padded;
  Tensor partial = make_zeros(features, {parts, volume, depth, padded}, features.scalar_type());
  T* sums = mdata<T>(partial);
  const int32_t* table = cdata<int32_t>(gather);
  parallel_tasks(parts * volume, [&](int64_t task) {
    const int64_t k = task / parts, begin = std::min(rows, task % parts * part), end = std::min(begin + part, rows);
    Pairs pairs(end - begin);
    pairs.collect(kWeightGrad, kernels, table + k * rows, begin, end, input_rows);
    kernels.outer_gemm({cdata<T>(features), depth, cdata<T>(right), padded, sums + (task % parts * volume + k) * matrix,
                        pairs.in.data(), pairs.out.data(), pairs.count});
  });

  const std::initializer_list<int64_t> sizes = {transposed ? depth : width, volume, transposed ? width : depth};
  Tensor result = make_empty(features, sizes, features.scalar_type());
  T* out = mdata<T>(result);
  parallel_for(0, volume, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, matrix * parts)), [&](int64_t b, int64_t e) {
    for (int64_t k = b; k < e; ++k) {
      T* total = sums + k * matrix;
      for (int64_t p = 1; p < parts; ++p)
        for (int64_t i = 0; i < matrix; ++i) total[i] += sums[(p * volume + k) * matrix + i];
      for (int64_t c = 0; c < depth; ++c)
        for (int64_t n = 0; n < width; ++n)
          out[transposed ? (c * volume + k) * width + n : (n * volume + k) * depth + c] = total[c * padded + n];
    }
  });
  return result;
}

bool is_half(ScalarType dtype) { return dtype == ScalarType::Half || dtype == ScalarType::BFloat16; }

void check_float(const char* op, const Tensor& t) {
  const ScalarType dtype = t.scalar_type();
  MAE3D_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double || is_half(dtype), op,
              ": 'features' must have dtype float32, float64, float16 or bfloat16, got ", toString(dtype));
}

Tensor widen(const Tensor& t, ScalarType dtype) {
  return as_contiguous(is_half(dtype) ? torch::stable::to(t, ScalarType::Float) : t);
}

Tensor sparse_conv(const Tensor& features, const Tensor& weight, const OptionalTensor& bias, const Tensor& gather,
                   const OptionalTensor& scatter, bool transposed) {
  check_product(kForward, features, gather);
  check_float(kForward, features);
  check_weight(kForward, features, weight, bias, gather, transposed);
  check_scatter(kForward, scatter, features, gather);
  const ScalarType dtype = features.scalar_type();
  const Tensor f = widen(features, dtype), w = widen(weight, dtype), table = as_contiguous(gather);
  const OptionalTensor b = bias.has_value() ? OptionalTensor(widen(*bias, dtype)) : std::nullopt;
  if (dtype == ScalarType::Double) return convolve<double>(f, w, b, table, transposed);
  const Tensor result = convolve<float>(f, w, b, table, transposed);
  return is_half(dtype) ? torch::stable::to(result, dtype) : result;
}

Tensor sparse_conv_weight_grad(const Tensor& features, const Tensor& grad, const Tensor& gather,
                               const OptionalTensor& scatter, bool transposed) {
  check_product(kWeightGrad, features, gather);
  check_float(kWeightGrad, features);
  check_dim(grad, 2, kWeightGrad, "grad");
  check_dtype(grad, features.scalar_type(), kWeightGrad, "grad");
  check_size(grad, 0, gather.size(1), kWeightGrad, "grad");
  check_scatter(kWeightGrad, scatter, features, gather);
  const ScalarType dtype = features.scalar_type();
  const Tensor f = widen(features, dtype), g = widen(grad, dtype), table = as_contiguous(gather);
  if (dtype == ScalarType::Double) return weight_grad<double>(f, g, table, transposed);
  const Tensor result = weight_grad<float>(f, g, table, transposed);
  return is_half(dtype) ? torch::stable::to(result, dtype) : result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("sparse_conv", TORCH_BOX(&sparse_conv));
  m.impl("sparse_conv_weight_grad", TORCH_BOX(&sparse_conv_weight_grad));
}

}  // namespace mae3d::sparse_conv
