// CPU dense grids: one task per cloud and few channels, so that the planes it touches stay in cache and no two
// threads write to the same place.
#include <algorithm>

#include "../common/radix_sort.h"
#include "../common/simd.h"
#include "dense_grid.h"

namespace mae3d {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

constexpr int64_t kChannels = 8;  // channels per task
constexpr int64_t kBlock = 128;   // points whose corners are held at once

struct Corners {
  int32_t cell[8][kBlock];
  float weight[8][kBlock];
};

MAE3D_INLINE void find_corners(const float* u, int64_t n, int32_t r, Corners& corners) {
  for (int k = 0; k < 8; ++k)
    for (int64_t i = 0; i < n; ++i) trilinear_corner(u + 3 * i, r, k, corners.cell[k][i], corners.weight[k][i]);
}

// One cloud, channels [begin, end): planes are [C, R^3] of the cloud, rows are [N, C].
template <typename T> struct Slice {
  const float* coordinates;
  int64_t points, channels, begin, end, cells;
  int32_t resolution;
};

template <typename T> MAE3D_INLINE void read_planes(const Slice<T>& s, const T* planes, T* rows) {
  using A = Accumulator<T>;
  Corners corners;
  for (int64_t start = 0; start < s.points; start += kBlock) {
    const int64_t m = std::min(kBlock, s.points - start);
    find_corners(s.coordinates + 3 * start, m, s.resolution, corners);
    for (int64_t c = s.begin; c < s.end; ++c) {
      const T* plane = planes + c * s.cells;
      A sum[kBlock] = {};
      for (int k = 0; k < 8; ++k)
        for (int64_t i = 0; i < m; ++i)
          sum[i] += static_cast<A>(corners.weight[k][i]) * static_cast<A>(plane[corners.cell[k][i]]);
      for (int64_t i = 0; i < m; ++i) rows[(start + i) * s.channels + c] = static_cast<T>(sum[i]);
    }
  }
}

// `sums`: the planes [channels of this slice, R^3], zero on entry.
template <typename T> MAE3D_INLINE void add_to_planes(const Slice<T>& s, const T* rows, Accumulator<T>* sums) {
  using A = Accumulator<T>;
  Corners corners;
  for (int64_t start = 0; start < s.points; start += kBlock) {
    const int64_t m = std::min(kBlock, s.points - start);
    find_corners(s.coordinates + 3 * start, m, s.resolution, corners);
    for (int64_t c = s.begin; c < s.end; ++c) {
      A* plane = sums + (c - s.begin) * s.cells;
      for (int64_t i = 0; i < m; ++i) {
        const A value = static_cast<A>(rows[(start + i) * s.channels + c]);
        for (int k = 0; k < 8; ++k) plane[corners.cell[k][i]] += static_cast<A>(corners.weight[k][i]) * value;
      }
    }
  }
}

#define MAE3D_GRID_ENTRIES(T)                                                                             \
  MAE3D_SIMD void read_slice(const Slice<T>& s, const T* planes, T* rows) { read_planes(s, planes, rows); } \
  MAE3D_SIMD void add_slice(const Slice<T>& s, const T* rows, Accumulator<T>* sums) { add_to_planes(s, rows, sums); }
MAE3D_GRID_ENTRIES(float)
MAE3D_GRID_ENTRIES(double)
MAE3D_GRID_ENTRIES(Half)
MAE3D_GRID_ENTRIES(BFloat16)
#undef MAE3D_GRID_ENTRIES

// Calls f(cloud, first channel, last channel), in parallel.
template <typename F> void for_slices(int64_t clouds, int64_t channels, const F& f) {
  const int64_t pieces = (channels + kChannels - 1) / kChannels;
  parallel_tasks(clouds * pieces, [&](int64_t task) {
    const int64_t begin = task % pieces * kChannels;
    f(task / pieces, begin, std::min(begin + kChannels, channels));
  });
}

// Sums for one slice: the result itself where it has the accumulator's type, else a buffer that is cast at the end.
template <typename T, typename F> void sum_slice(T* result, int64_t count, const F& f) {
  using A = Accumulator<T>;
  if constexpr (std::is_same_v<T, A>) {
    std::fill_n(result, count, A{0});
    f(result);
  } else {
    const Buffer<A> sums = make_buffer<A>(count);
    std::fill_n(sums.get(), count, A{0});
    f(sums.get());
    std::transform(sums.get(), sums.get() + count, result, [](A v) { return static_cast<T>(v); });
  }
}

Buffer<int32_t> flat_cells(const Tensor& cells, int64_t resolution) {
  const int64_t n = cells.size(0) * cells.size(1);
  Buffer<int32_t> flat = make_buffer<int32_t>(n);
  const int64_t* c = cdata<int64_t>(cells);
  for (int64_t i = 0; i < n; ++i) flat[i] = flat_cell(c + 3 * i, resolution);
  return flat;
}

}  // namespace

std::tuple<Tensor, Tensor> voxel_average(const Tensor& features, const Tensor& cells, int64_t resolution) {
  const char* op = "voxel_average";
  check_dim(features, 3, op, "features");
  check_triples(cells, ScalarType::Long, features, features.size(1), op, "cells");
  check_resolution(resolution, op);
  const Tensor f = as_contiguous(features), at = as_contiguous(cells);
  const int64_t clouds = f.size(0), points = f.size(1), channels = f.size(2);
  const int64_t r = resolution, size = r * r * r;
  const Tensor grid = make_empty(f, {clouds, channels, r, r, r}, f.scalar_type());
  const Tensor counts = make_zeros(f, {clouds, r, r, r}, ScalarType::Long);
  const Buffer<int32_t> flat = flat_cells(at, r);
  int64_t* count = mdata<int64_t>(counts);
  std::vector<std::vector<int32_t>> shared(static_cast<size_t>(clouds));  // cells of each cloud with several points
  for (int64_t b = 0; b < clouds; ++b)
    for (int64_t i = 0; i < points; ++i) {
      const int32_t cell = flat[b * points + i];
      if (cell >= 0 && ++count[b * size + cell] == 2) shared[static_cast<size_t>(b)].push_back(cell);
    }
  dispatch_float(f, op, "features", [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    for_slices(clouds, channels, [&](int64_t b, int64_t begin, int64_t end) {
      const int32_t* cell = flat.get() + b * points;
      const T* rows = cdata<T>(f) + b * points * channels;
      T* planes = mdata<T>(grid) + (b * channels + begin) * size;
      sum_slice<T>(planes, (end - begin) * size, [&](A* sums) {
        for (int64_t i = 0; i < points; ++i)
          for (int64_t c = begin; c < end && cell[i] >= 0; ++c)
            sums[(c - begin) * size + cell[i]] += static_cast<A>(rows[i * channels + c]);
        for (int64_t c = 0; c < end - begin; ++c)
          for (const int32_t v : shared[static_cast<size_t>(b)])
            sums[c * size + v] /= static_cast<A>(count[b * size + v]);
      });
    });
  });
  return {grid, counts};
}

Tensor voxel_average_backward(const Tensor& grad, const Tensor& cells, const Tensor& counts) {
  check_average_backward(grad, cells, counts);
  const Tensor g = as_contiguous(grad), at = as_contiguous(cells), n = as_contiguous(counts);
  const int64_t clouds = g.size(0), points = at.size(1), channels = g.size(1);
  const int64_t r = g.size(2), size = r * r * r;
  const Tensor out = make_empty(g, {clouds, points, channels}, g.scalar_type());
  const Buffer<int32_t> flat = flat_cells(at, r);
  dispatch_float(g, "voxel_average_backward", "grad", [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    const T* planes = cdata<T>(g);
    const int64_t* count = cdata<int64_t>(n);
    T* rows = mdata<T>(out);
    for_slices(clouds, channels, [&](int64_t b, int64_t begin, int64_t end) {
      for (int64_t i = 0; i < points; ++i) {
        const int64_t cell = flat[b * points + i];
        const A divisor = cell < 0 ? A{1} : static_cast<A>(std::max<int64_t>(count[b * size + cell], 1));
        for (int64_t c = begin; c < end; ++c) {
          const A value = cell < 0 ? A{0} : static_cast<A>(planes[(b * channels + c) * size + cell]) / divisor;
          rows[(b * points + i) * channels + c] = static_cast<T>(value);
        }
      }
    });
  });
  return out;
}

Tensor trilinear_devoxelize(const Tensor& grid, const Tensor& coordinates) {
  const char* op = "trilinear_devoxelize";
  check_grid(grid, op, "grid");
  check_triples(coordinates, ScalarType::Float, grid, -1, op, "coordinates");
  const Tensor g = as_contiguous(grid), u = as_contiguous(coordinates);
  const int64_t clouds = g.size(0), channels = g.size(1), r = g.size(2), size = r * r * r, points = u.size(1);
  const Tensor out = make_empty(g, {clouds, points, channels}, g.scalar_type());
  dispatch_float(g, op, "grid", [&](auto zero) {
    using T = decltype(zero);
    for_slices(clouds, channels, [&](int64_t b, int64_t begin, int64_t end) {
      const Slice<T> slice{cdata<float>(u) + b * points * 3, points, channels, begin, end, size, static_cast<int32_t>(r)};
      read_slice(slice, cdata<T>(g) + b * channels * size, mdata<T>(out) + b * points * channels);
    });
  });
  return out;
}

Tensor trilinear_devoxelize_backward(const Tensor& grad, const Tensor& coordinates, int64_t resolution) {
  const char* op = "trilinear_devoxelize_backward";
  check_dim(grad, 3, op, "grad");
  check_resolution(resolution, op);
  check_triples(coordinates, ScalarType::Float, grad, grad.size(1), op, "coordinates");
  const Tensor g = as_contiguous(grad), u = as_contiguous(coordinates);
  const int64_t clouds = g.size(0), points = g.size(1), channels = g.size(2);
  const int64_t r = resolution, size = r * r * r;
  const Tensor out = make_empty(g, {clouds, channels, r, r, r}, g.scalar_type());
  dispatch_float(g, op, "grad", [&](auto zero) {
    using T = decltype(zero);
    for_slices(clouds, channels, [&](int64_t b, int64_t begin, int64_t end) {
      const Slice<T> slice{cdata<float>(u) + b * points * 3, points, channels, begin, end, size, static_cast<int32_t>(r)};
      sum_slice<T>(mdata<T>(out) + (b * channels + begin) * size, (end - begin) * size, [&](Accumulator<T>* sums) {
        add_slice(slice, cdata<T>(g) + b * points * channels, sums);
      });
    });
  });
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("voxel_average", TORCH_BOX(&voxel_average));
  m.impl("voxel_average_backward", TORCH_BOX(&voxel_average_backward));
  m.impl("trilinear_devoxelize", TORCH_BOX(&trilinear_devoxelize));
  m.impl("trilinear_devoxelize_backward", TORCH_BOX(&trilinear_devoxelize_backward));
}

}  // namespace mae3d
