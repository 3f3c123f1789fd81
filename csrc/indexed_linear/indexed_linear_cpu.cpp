// Rows are sorted by the matrix that they use, so that each matrix is read once for a run of rows and multiplied by
// the register-tiled products of the sparse convolution.
//
// Forward: tiles of groups are the tasks; a tile's sums stay in the second-level cache while its rows pass in the
// order of their matrices. Gradients: the runs of one matrix are the tasks. No two tasks write one row.
#include <algorithm>
#include <vector>

#include "../common/radix_sort.h"
#include "../sparse_conv/gather_gemm.h"
#include "indexed_linear.h"

namespace mae3d::indexed_linear {
namespace {

using sparse_conv::row_kernels;
using sparse_conv::RowKernels;

constexpr int64_t kTileGroups = 512;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

Tensor widen(const Tensor& t) {
  return as_contiguous(is_half(t.scalar_type()) ? torch::stable::to(t, ScalarType::Float) : t);
}

// Rows that join a group, ascending by (tile of groups, matrix, row).
class SortedRows {
 public:
  SortedRows(const char* op, const Tensor& index, const Tensor& group, int64_t num_groups, int64_t num_weights,
             int64_t tile_groups)
      : first_(make_buffer<KeyedRow>(index.size(0))), second_(make_buffer<KeyedRow>(index.size(0))) {
    const int64_t* matrix = cdata<int64_t>(index);
    const int64_t* target = cdata<int64_t>(group);
    for (int64_t i = 0; i < index.size(0); ++i) {
      MAE3D_CHECK(matrix[i] >= 0 && matrix[i] < num_weights, op, ": 'index' must be in [0, ", num_weights,
                  "), but entry ", i, " is ", matrix[i]);
      MAE3D_CHECK(target[i] < num_groups, op, ": 'group' must be below num_groups = ", num_groups, ", but entry ", i,
                  " is ", target[i]);
      if (target[i] < 0) continue;
      first_[count_++] = {static_cast<uint64_t>(target[i] / tile_groups * num_weights + matrix[i]), i};
    }
    const uint64_t keys = static_cast<uint64_t>((num_groups / tile_groups + 1) * num_weights);
    rows_ = radix_sort(first_.get(), second_.get(), count_, static_cast<int>(std::bit_width(keys)));
  }

  int64_t begin_of(uint64_t key) const {
    const auto below = [](const KeyedRow& row, uint64_t value) { return row.key < value; };
    return std::lower_bound(rows_, rows_ + count_, key, below) - rows_;
  }

  // Calls f(matrix, rows of the run) for every run of equal keys between two positions.
  template <typename F> void each_run(int64_t begin, int64_t end, int64_t num_weights, const F& f) const {
    std::vector<int32_t> rows;
    for (int64_t from = begin; from < end;) {
      rows.clear();
      const uint64_t key = rows_[from].key;
      for (; from < end && rows_[from].key == key; ++from) rows.push_back(static_cast<int32_t>(rows_[from].row));
      f(static_cast<int64_t>(key) % num_weights, rows);
    }
  }

 private:
  Buffer<KeyedRow> first_, second_;
  KeyedRow* rows_ = nullptr;
  int64_t count_ = 0;
};

// One matrix [depth, width] in the panels that gather_gemm reads; element (c, n) is at source[c * down + n * across].
template <typename T>
void pack_matrix(const T* source, int64_t depth, int64_t width, int64_t down, int64_t across,
                 const RowKernels<T>& kernels, T* packed) {
  const int64_t panel = kernels.lanes * kernels.max_vectors, padded = round_up(width, kernels.lanes);
  for (int64_t first = 0; first < width; first += panel) {
    const int64_t columns = std::min(panel, padded - first), used = std::min(columns, width - first);
    T* target = packed + first * depth;
    for (int64_t c = 0; c < depth; ++c) {
      const T* from = source + c * down + first * across;
      if (across == 1) {
        std::copy_n(from, used, target + c * columns);
      } else {
        for (int64_t n = 0; n < used; ++n) target[c * columns + n] = from[n * across];
      }
      std::fill_n(target + c * columns + used, columns - used, T(0));
    }
  }
}

// The group of each row of a run.
void look_up(const std::vector<int32_t>& rows, const int64_t* group, std::vector<int32_t>& groups) {
  groups.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) groups[i] = static_cast<int32_t>(group[rows[i]]);
}

// [rows, from] -> [rows, to], cut or padded with zeros; row r is divided by counts[r] where counts are given.
template <typename T>
Tensor copy_columns(const Tensor& source, int64_t to, const int64_t* counts) {
  const int64_t rows = source.size(0), from = source.size(1), shared = std::min(from, to);
  const Tensor result = make_empty(source, {rows, to}, source.scalar_type());
  const T* in = cdata<T>(source);
  T* out = mdata<T>(result);
  parallel_for(0, rows, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T count = counts && counts[r] > 1 ? static_cast<T>(counts[r]) : T(1);
      for (int64_t c = 0; c < shared; ++c) out[r * to + c] = in[r * from + c] / count;
      std::fill_n(out + r * to + shared, to - shared, T(0));
    }
  });
  return result;
}

template <typename T>
Tensor forward(const Tensor& features, const Tensor& weight, const Tensor& index, const Tensor& group,
               int64_t num_groups, bool mean, const Tensor& counts) {
  const RowKernels<T>& kernels = row_kernels<T>();
  const int64_t num_weights = weight.size(0), depth = weight.size(1), width = weight.size(2);
  const int64_t padded = round_up(width, kernels.lanes);
  const int64_t tile = std::clamp<int64_t>((num_groups + 2 * num_threads() - 1) / (2 * num_threads()), 1, kTileGroups);
  const SortedRows sorted(kForward, index, group, num_groups, num_weights, tile);
  const Tensor sums = make_zeros(features, {num_groups, padded}, features.scalar_type());
  const int64_t* target = cdata<int64_t>(group);
  int64_t* joined = mdata<int64_t>(counts);
  parallel_tasks((num_groups + tile - 1) / tile, [&](int64_t t) {
    const int64_t begin = sorted.begin_of(static_cast<uint64_t>(t * num_weights));
    const int64_t end = sorted.begin_of(static_cast<uint64_t>((t + 1) * num_weights));
    std::vector<T> packed(static_cast<size_t>(depth * padded));
    std::vector<int32_t> groups;
    sorted.each_run(begin, end, num_weights, [&](int64_t matrix, const std::vector<int32_t>& rows) {
      look_up(rows, target, groups);
      for (const int32_t g : groups) ++joined[g];
      pack_matrix(cdata<T>(weight) + matrix * depth * width, depth, width, width, 1, kernels, packed.data());
      kernels.gather_gemm({cdata<T>(features), depth, packed.data(), mdata<T>(sums), padded, rows.data(),
                           groups.data(), static_cast<int64_t>(rows.size())});
    });
  });
  return mean || padded != width ? copy_columns<T>(sums, width, mean ? joined : nullptr) : sums;
}

// Calls f(begin, end, ...) over the runs of each matrix, many matrices a task.
template <typename F> void each_matrix(const SortedRows& sorted, int64_t num_weights, const F& f) {
  const int64_t tasks = std::min<int64_t>(num_weights, 16 * num_threads());
  parallel_tasks(tasks, [&](int64_t t) {
    const int64_t begin = sorted.begin_of(static_cast<uint64_t>(num_weights * t / tasks));
    const int64_t end = sorted.begin_of(static_cast<uint64_t>(num_weights * (t + 1) / tasks));
    std::vector<int32_t> groups;
    sorted.each_run(begin, end, num_weights,
                    [&](int64_t matrix, const std::vector<int32_t>& rows) { f(matrix, rows, groups); });
  });
}

template <typename T>
Tensor feature_grad(const Tensor& grad, const Tensor& weight, const Tensor& index, const Tensor& group,
                    const int64_t* counts) {
  const RowKernels<T>& kernels = row_kernels<T>();
  const int64_t num_weights = weight.size(0), width = weight.size(1), depth = weight.size(2);
  const int64_t padded = round_up(width, kernels.lanes), num_groups = grad.size(0);
  const SortedRows sorted(kFeatureGrad, index, group, num_groups, num_weights, std::max<int64_t>(1, num_groups));
  const Tensor scaled = counts ? copy_columns<T>(grad, depth, counts) : grad;
  const Tensor result = make_zeros(grad, {index.size(0), padded}, grad.scalar_type());
  each_matrix(sorted, num_weights, [&](int64_t matrix, const std::vector<int32_t>& rows, std::vector<int32_t>& groups) {
    look_up(rows, cdata<int64_t>(group), groups);
    std::vector<T> packed(static_cast<size_t>(depth * padded));
    pack_matrix(cdata<T>(weight) + matrix * depth * width, depth, width, 1, depth, kernels, packed.data());
    kernels.gather_gemm({cdata<T>(scaled), depth, packed.data(), mdata<T>(result), padded, groups.data(), rows.data(),
                         static_cast<int64_t>(rows.size())});
  });
  return padded == width ? result : copy_columns<T>(result, width, nullptr);
}

template <typename T>
Tensor weight_grad(const Tensor& grad, const Tensor& features, const Tensor& index, const Tensor& group,
                   const int64_t* counts, int64_t num_weights) {
  const RowKernels<T>& kernels = row_kernels<T>();
  const int64_t depth = features.size(1), width = grad.size(1), padded = round_up(width, kernels.lanes);
  const int64_t num_groups = grad.size(0);
  const SortedRows sorted(kWeightGrad, index, group, num_groups, num_weights, std::max<int64_t>(1, num_groups));
  const Tensor scaled = counts || padded != width ? copy_columns<T>(grad, padded, counts) : grad;
  const Tensor result = make_zeros(grad, {num_weights * depth, padded}, grad.scalar_type());
  each_matrix(sorted, num_weights, [&](int64_t matrix, const std::vector<int32_t>& rows, std::vector<int32_t>& groups) {
    look_up(rows, cdata<int64_t>(group), groups);
    kernels.outer_gemm({cdata<T>(features), depth, cdata<T>(scaled), padded, mdata<T>(result) + matrix * depth * padded,
                        rows.data(), groups.data(), static_cast<int64_t>(rows.size())});
  });
  const Tensor cut = padded == width ? result : copy_columns<T>(result, width, nullptr);
  return torch::stable::reshape(cut, {num_weights, depth, width});
}

// f(value of the type that sums are in)
template <typename F> Tensor with_sums(const char* op, const Tensor& t, const char* name, const F& f) {
  const ScalarType dtype = t.scalar_type();
  MAE3D_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double || is_half(dtype), op, ": '", name,
              "' must have dtype float32, float64, float16 or bfloat16, got ", toString(dtype));
  if (dtype == ScalarType::Double) return f(double{});
  const Tensor result = f(float{});
  return is_half(dtype) ? torch::stable::to(result, dtype) : result;
}

std::tuple<Tensor, Tensor> indexed_linear(const Tensor& features, const Tensor& weight, const Tensor& index,
                                          const Tensor& group, int64_t num_groups, bool mean) {
  check_forward(features, weight, index, group, num_groups);
  const Tensor counts = make_zeros(features, {num_groups}, ScalarType::Long);
  const Tensor out = with_sums(kForward, weight, "weight", [&](auto zero) {
    return forward<decltype(zero)>(widen(features), widen(weight), as_contiguous(index), as_contiguous(group),
                                   num_groups, mean, counts);
  });
  return {out, counts};
}

Tensor indexed_linear_feature_grad(const Tensor& grad, const Tensor& weight, const Tensor& index, const Tensor& group,
                                   const Tensor& counts, bool mean) {
  check_feature_grad(grad, weight, index, group, counts);
  const Tensor n = as_contiguous(counts);
  return with_sums(kFeatureGrad, grad, "grad", [&](auto zero) {
    return feature_grad<decltype(zero)>(widen(grad), widen(weight), as_contiguous(index), as_contiguous(group),
                                        mean ? cdata<int64_t>(n) : nullptr);
  });
}

Tensor indexed_linear_weight_grad(const Tensor& grad, const Tensor& features, const Tensor& index, const Tensor& group,
                                  const Tensor& counts, int64_t num_weights, bool mean) {
  check_weight_grad(grad, features, index, group, counts, num_weights);
  const Tensor n = as_contiguous(counts);
  return with_sums(kWeightGrad, grad, "grad", [&](auto zero) {
    return weight_grad<decltype(zero)>(widen(grad), widen(features), as_contiguous(index), as_contiguous(group),
                                       mean ? cdata<int64_t>(n) : nullptr, num_weights);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("indexed_linear", TORCH_BOX(&indexed_linear));
  m.impl("indexed_linear_feature_grad", TORCH_BOX(&indexed_linear_feature_grad));
  m.impl("indexed_linear_weight_grad", TORCH_BOX(&indexed_linear_weight_grad));
}

}  // namespace mae3d::indexed_linear
