// CPU scatter: each thread owns a range of output rows, picks its inputs from the whole index in order, and
// prefetches the rows it will add to. No atomics, and the same order of additions for every number of threads.
#include <algorithm>
#include <cmath>

#include "../common/radix_sort.h"
#include "../common/simd.h"
#include "scatter.h"

namespace mae3d {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

constexpr int64_t kBlock = 64;

template <typename T> struct Job {
  const T* features;
  const int64_t* index;
  int64_t inputs, width, first_row, last_row;
  Accumulator<T>* out;
  int64_t* counts;
  int32_t* arg;
};

// Adds one input row to one output row. kWidth > 0 fixes the number of channels at compile time; such narrow rows are
// zero beforehand, which is cheaper than a branch on the first of each row.
template <Reduce kReduce, bool kArg, int kWidth, typename T>
MAE3D_INLINE void add_row(const Job<T>& job, int64_t input, int64_t row) {
  using A = Accumulator<T>;
  const int64_t width = kWidth ? kWidth : job.width;
  const T* in = job.features + input * width;
  A* out = job.out + row * width;
  const bool fresh = job.counts[row]++ == 0;
  if (kWidth == 0 && fresh) {
    for (int64_t c = 0; c < width; ++c) out[c] = static_cast<A>(in[c]);
    if (kArg) std::fill_n(job.arg + row * width, width, static_cast<int32_t>(input));
    return;
  }
  if (kReduce == Reduce::kSum) {
    for (int64_t c = 0; c < width; ++c) out[c] += static_cast<A>(in[c]);
    return;
  }
  int32_t* arg = kArg ? job.arg + row * width : nullptr;
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    const A value = static_cast<A>(in[c]), best = out[c];
    const bool beyond = kReduce == Reduce::kMax ? value > best : value < best;
    const bool wins = beyond | ((value != value) & (best == best));
    out[c] = wins ? value : best;
    if (kArg) arg[c] = wins ? static_cast<int32_t>(input) : arg[c];
  }
}

template <Reduce kReduce, bool kArg, int kWidth, typename T> MAE3D_INLINE void run_job(const Job<T>& job) {
  int64_t inputs[kBlock], rows[kBlock];
  if (kWidth > 0) std::fill(job.out + job.first_row * kWidth, job.out + job.last_row * kWidth, Accumulator<T>{0});
  const int64_t bytes = job.width * static_cast<int64_t>(sizeof(Accumulator<T>));
  for (int64_t start = 0; start < job.inputs; start += kBlock) {
    const int64_t m = std::min(kBlock, job.inputs - start);
    int64_t n = 0;
    for (int64_t i = 0; i < m; ++i) {
      const int64_t row = job.index[start + i];
      inputs[n] = start + i;
      rows[n] = row;
      n += (row >= job.first_row) & (row < job.last_row);
    }
    constexpr int64_t kAhead = 8;
    for (int64_t j = 0; j < n; ++j) {
      if (j + kAhead < n) {
        const char* ahead = reinterpret_cast<const char*>(job.out + rows[j + kAhead] * job.width);
        for (int64_t b = 0; b < std::min<int64_t>(bytes, 512); b += 64) __builtin_prefetch(ahead + b, 1);
      }
      add_row<kReduce, kArg, kWidth>(job, inputs[j], rows[j]);
    }
  }
}

// Function multiversioning does not reach templates: one plain entry per dtype and kind.
#define MAE3D_SCATTER_ENTRIES(T)                                                                 \
  MAE3D_SIMD void sum_rows(const Job<T>& job) {                                                  \
    if (job.width == 3) return run_job<Reduce::kSum, false, 3>(job);                             \
    if (job.width == 4) return run_job<Reduce::kSum, false, 4>(job);                             \
    if (job.width == 5) return run_job<Reduce::kSum, false, 5>(job);                             \
    run_job<Reduce::kSum, false, 0>(job);                                                        \
  }                                                                                              \
  MAE3D_SIMD void max_rows(const Job<T>& job) {                                                  \
    job.arg ? run_job<Reduce::kMax, true, 0>(job) : run_job<Reduce::kMax, false, 0>(job);        \
  }                                                                                              \
  MAE3D_SIMD void min_rows(const Job<T>& job) {                                                  \
    job.arg ? run_job<Reduce::kMin, true, 0>(job) : run_job<Reduce::kMin, false, 0>(job);        \
  }
MAE3D_SCATTER_ENTRIES(float)
MAE3D_SCATTER_ENTRIES(double)
MAE3D_SCATTER_ENTRIES(Half)
MAE3D_SCATTER_ENTRIES(BFloat16)
#undef MAE3D_SCATTER_ENTRIES

void check_index(const int64_t* index, int64_t n, int64_t num_rows) {
  for (int64_t i = 0; i < n; ++i)
    MAE3D_CHECK(index[i] < num_rows, "scatter_reduce: 'index' must be below num_rows = ", num_rows, ", but entry ", i,
                " is ", index[i]);
}

// Rows [begin, end): empty ones to zero, means divided, the result in the dtype of the features.
template <typename T, typename A>
void finish_rows(const A* sums, const int64_t* counts, int64_t begin, int64_t end, int64_t width, bool mean, T* out,
                 int32_t* arg) {
  for (int64_t r = begin; r < end; ++r) {
    const A* in = sums + r * width;
    T* to = out + r * width;
    if (counts[r] == 0) {
      std::fill_n(to, width, static_cast<T>(A{0}));
      if (arg) std::fill_n(arg + r * width, width, -1);
    } else if (mean && counts[r] > 1) {
      const A count = static_cast<A>(counts[r]);
      for (int64_t c = 0; c < width; ++c) to[c] = static_cast<T>(in[c] / count);
    } else if constexpr (!std::is_same_v<T, A>) {
      for (int64_t c = 0; c < width; ++c) to[c] = static_cast<T>(in[c]);
    }
  }
}

template <typename T>
void reduce_rows(const Tensor& features, const Tensor& index, int64_t num_rows, Reduce reduce, const Tensor& out,
                 const Tensor& counts, const Tensor& arg) {
  using A = Accumulator<T>;
  const int64_t inputs = features.size(0), width = features.size(1);
  T* result = mdata<T>(out);
  Buffer<A> wide;
  A* sums = nullptr;
  if constexpr (std::is_same_v<T, A>) {
    sums = result;  // accumulates in place
  } else {
    wide = make_buffer<A>(num_rows * width);
    sums = wide.get();
  }
  int32_t* winners = arg.size(0) ? mdata<int32_t>(arg) : nullptr;
  int64_t* joined = mdata<int64_t>(counts);
  const int64_t parts = std::clamp<int64_t>(inputs * (width + 4) / 65536, 1, num_threads());
  parallel_tasks(parts, [&](int64_t part) {
    const int64_t first = num_rows * part / parts, last = num_rows * (part + 1) / parts;
    const Job<T> job{cdata<T>(features), cdata<int64_t>(index), inputs, width, first, last, sums, joined, winners};
    if (!is_extreme(reduce)) sum_rows(job);
    if (reduce == Reduce::kMax) max_rows(job);
    if (reduce == Reduce::kMin) min_rows(job);
    finish_rows<T, A>(sums, joined, first, last, width, reduce == Reduce::kMean, result, winners);
  });
}

template <typename T>
void backward_rows(const T* grad, const int64_t* index, const int64_t* counts, const int32_t* arg, int64_t num_rows,
                   int64_t width, bool mean, int64_t begin, int64_t end, T* out) {
  using A = Accumulator<T>;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = index[i];
    T* to = out + i * width;
    if (row < 0 || row >= num_rows) {
      std::fill_n(to, width, static_cast<T>(A{0}));
      continue;
    }
    const T* in = grad + row * width;
    if (arg) {
      const int32_t* winner = arg + row * width;
      for (int64_t c = 0; c < width; ++c) to[c] = winner[c] == i ? in[c] : static_cast<T>(A{0});
    } else if (mean) {
      const A count = static_cast<A>(counts[row] < 1 ? 1 : counts[row]);
      for (int64_t c = 0; c < width; ++c) to[c] = static_cast<T>(static_cast<A>(in[c]) / count);
    } else {
      std::copy_n(in, width, to);
    }
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> scatter_reduce(const Tensor& features, const Tensor& index, int64_t num_rows,
                                                  std::string reduce, bool with_arg) {
  check_scatter(features, index, num_rows);
  const Reduce kind = parse_reduce(reduce, "scatter_reduce");
  const Tensor f = as_contiguous(features), i = as_contiguous(index);
  check_index(cdata<int64_t>(i), i.size(0), num_rows);
  const int64_t width = f.size(1);
  const Tensor out = make_empty(f, {num_rows, width}, f.scalar_type());
  const Tensor counts = make_zeros(f, {num_rows}, ScalarType::Long);
  const Tensor arg = make_empty(f, {is_extreme(kind) && with_arg ? num_rows : 0, width}, ScalarType::Int);
  dispatch_float(f, "scatter_reduce", "features",
                 [&](auto zero) { reduce_rows<decltype(zero)>(f, i, num_rows, kind, out, counts, arg); });
  return {out, counts, arg};
}

Tensor scatter_reduce_backward(const Tensor& grad, const Tensor& index, const Tensor& counts, const Tensor& arg,
                               std::string reduce) {
  const Reduce kind = parse_reduce(reduce, "scatter_reduce_backward");
  check_scatter_backward(grad, index, counts, arg, kind);
  const Tensor g = as_contiguous(grad), i = as_contiguous(index), n = as_contiguous(counts), a = as_contiguous(arg);
  const int64_t rows = i.size(0), width = g.size(1);
  const Tensor out = make_empty(g, {rows, width}, g.scalar_type());
  dispatch_float(g, "scatter_reduce_backward", "grad", [&](auto zero) {
    using T = decltype(zero);
    const int32_t* winners = is_extreme(kind) ? cdata<int32_t>(a) : nullptr;
    parallel_for(0, rows, std::max<int64_t>(1, 16384 / (width + 1)), [&](int64_t begin, int64_t end) {
      backward_rows<T>(cdata<T>(g), cdata<int64_t>(i), cdata<int64_t>(n), winners, g.size(0), width,
                       kind == Reduce::kMean, begin, end, mdata<T>(out));
    });
  });
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("scatter_reduce", TORCH_BOX(&scatter_reduce));
  m.impl("scatter_reduce_backward", TORCH_BOX(&scatter_reduce_backward));
}

}  // namespace mae3d
