#include "gather_points.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>

#include "../common/parallel.h"
#include "../common/simd.h"

namespace mae3d::gather {
namespace {

constexpr int64_t kBytesPerTask = 1 << 16;  // less is copied faster than a thread wakes up

struct Source {  // strides in bytes
  const char* features;
  const int64_t* indices;
  int64_t points, rows, cloud_stride, row_stride;

  // Row m of cloud b, null for -1.
  const char* row(int64_t b, int64_t m) const {
    const int64_t index = indices[b * rows + m];
    if (static_cast<uint64_t>(index) < static_cast<uint64_t>(points))
      return features + b * cloud_stride + index * row_stride;
    MAE3D_CHECK(index == -1, "gather_points: 'indices' must be -1 or in [0, ", points, "), but entry [", b, ", ", m,
                "] is ", index);
    return nullptr;
  }
};

// Copies flat rows [begin, end); kBytes > 0 is the row size known at compile time.
template <int64_t kBytes> void copy_rows(const Source& source, char* out, int64_t size, int64_t begin, int64_t end) {
  const int64_t bytes = kBytes ? kBytes : size;
  int64_t b = begin / source.rows, m = begin % source.rows;
  for (int64_t i = begin; i < end; ++i) {
    char* target = out + i * bytes;
    if (const char* row = source.row(b, m))
      std::memcpy(target, row, bytes);
    else
      std::memset(target, 0, bytes);
    if (++m == source.rows) m = 0, ++b;
  }
}

using CopyRows = void (*)(const Source&, char*, int64_t, int64_t, int64_t);

CopyRows copy_rows_of(int64_t bytes) {
  switch (bytes) {
    case 2: return copy_rows<2>;
    case 4: return copy_rows<4>;
    case 6: return copy_rows<6>;
    case 8: return copy_rows<8>;
    case 12: return copy_rows<12>;
    case 16: return copy_rows<16>;
    case 24: return copy_rows<24>;
    case 32: return copy_rows<32>;
    default: return copy_rows<0>;
  }
}

Tensor gather_points(const Tensor& features, const Tensor& indices) {
  check_indices(features, indices, "gather_points", "features");
  const int64_t batch = features.size(0), rows = indices.size(1), channels = features.size(2);
  const Tensor out = make_empty(features, {batch, rows, channels}, features.scalar_type());
  const Tensor f = with_dense_rows(features), index = as_contiguous(indices);
  const int64_t item = static_cast<int64_t>(f.element_size()), bytes = channels * item;
  const Source source{static_cast<const char*>(f.data_ptr()), cdata<int64_t>(index), f.size(1), rows,
                      f.stride(0) * item, f.stride(1) * item};
  const CopyRows copy = copy_rows_of(bytes);
  char* target = static_cast<char*>(out.mutable_data_ptr());
  parallel_for(0, batch * rows, kBytesPerTask / (bytes + 16),
               [&](int64_t begin, int64_t end) { copy(source, target, bytes, begin, end); });
  return out;
}

// ---- gradient

// Rows [first, last) of one cloud's result, owned by one thread, which reads all indices of the cloud: the order
// of summation is that of the indices, whatever the number of threads.
struct Slice {
  const int64_t* indices;
  int64_t rows, points, first, last, channels;
};

template <typename T, typename Sum> MAE3D_INLINE void add_rows(const T* gradient, Sum* sums, const Slice& s) {
  std::fill(sums, sums + (s.last - s.first) * s.channels, Sum(0));
  for (int64_t m = 0; m < s.rows; ++m) {
    const int64_t index = s.indices[m];
    if (index < s.first || index >= s.last) {
      MAE3D_CHECK(index >= -1 && index < s.points, "gather_points_backward: 'indices' must be -1 or in [0, ", s.points,
                  "), but one is ", index);
      continue;
    }
    const T* row = gradient + m * s.channels;
    Sum* sum = sums + (index - s.first) * s.channels;
    for (int64_t c = 0; c < s.channels; ++c) sum[c] += static_cast<Sum>(row[c]);
  }
}

using Half = c10::Half;
using BFloat16 = c10::BFloat16;

MAE3D_SIMD void add(const float* gradient, float* sums, const Slice& s) { add_rows(gradient, sums, s); }
MAE3D_SIMD void add(const double* gradient, double* sums, const Slice& s) { add_rows(gradient, sums, s); }
MAE3D_SIMD void add(const Half* gradient, float* sums, const Slice& s) { add_rows(gradient, sums, s); }
MAE3D_SIMD void add(const BFloat16* gradient, float* sums, const Slice& s) { add_rows(gradient, sums, s); }

template <typename T> void add_slice(const T* gradient, T* out, const Slice& s) {
  T* target = out + s.first * s.channels;
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    add(gradient, target, s);
  } else {
    const int64_t size = (s.last - s.first) * s.channels;
    const auto sums = std::make_unique_for_overwrite<float[]>(size);
    add(gradient, sums.get(), s);
    std::copy(sums.get(), sums.get() + size, target);
  }
}

template <typename T> void backward(const Tensor& gradient, const Tensor& indices, const Tensor& out) {
  const int64_t batch = out.size(0), points = out.size(1), channels = out.size(2), rows = indices.size(1);
  const int64_t work = batch * (points + rows) * channels * static_cast<int64_t>(sizeof(T));
  const int64_t threads = work < 2 * kBytesPerTask ? 1 : num_threads();
  const int64_t slices = std::max<int64_t>(1, std::min(points, (threads + batch - 1) / batch));
  const auto run = [&](int64_t task) {
    const int64_t b = task / slices, slice = task % slices;
    const Slice s{cdata<int64_t>(indices) + b * rows, rows, points, points * slice / slices,
                  points * (slice + 1) / slices, channels};
    add_slice(cdata<T>(gradient) + b * rows * channels, mdata<T>(out) + b * points * channels, s);
  };
  if (threads > 1) return parallel_tasks(batch * slices, run);
  for (int64_t task = 0; task < batch * slices; ++task) run(task);
}

Tensor gather_points_backward(const Tensor& gradient, const Tensor& indices, int64_t num_points) {
  check_gradient(gradient, indices, num_points);
  const Tensor g = as_contiguous(gradient), index = as_contiguous(indices);
  const Tensor out = make_empty(g, {g.size(0), num_points, g.size(2)}, g.scalar_type());
  if (g.size(0) == 0) return out;
  switch (g.scalar_type()) {
    case ScalarType::Float: backward<float>(g, index, out); break;
    case ScalarType::Double: backward<double>(g, index, out); break;
    case ScalarType::Half: backward<Half>(g, index, out); break;
    case ScalarType::BFloat16: backward<BFloat16>(g, index, out); break;
    default: fail_dtype(g);
  }
  return out;
}

}  // namespace
}  // namespace mae3d::gather

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("gather_points", TORCH_BOX(&mae3d::gather::gather_points));
  m.impl("gather_points_backward", TORCH_BOX(&mae3d::gather::gather_points_backward));
}
