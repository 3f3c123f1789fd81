// CUDA dense grids. Reading is one thread per (point, channel); writing sorts the contributions by cell first and
// gives each (cloud, channel, cell) one thread, so sums have a fixed order.
#include "../scatter/segments.cuh"
#include "dense_grid.h"

namespace mae3d {
namespace {

constexpr int kThreads = 256;

__global__ void cell_index_kernel(const int64_t* cells, int64_t n, int64_t points, int64_t r, int64_t* index) {
  MAE3D_GRID_STRIDE(i, n) {
    const int32_t cell = flat_cell(cells + 3 * i, r);
    index[i] = cell < 0 ? -1 : i / points * r * r * r + cell;
  }
}

__global__ void corner_index_kernel(const float* coordinates, int64_t n, int64_t points, int64_t r, int64_t* index,
                                    float* weights) {
  MAE3D_GRID_STRIDE(j, 8 * n) {
    int32_t cell;
    trilinear_corner(coordinates + 3 * (j / 8), static_cast<int32_t>(r), static_cast<int>(j % 8), cell, weights[j]);
    index[j] = j / 8 / points * r * r * r + cell;
  }
}

// planes[b, c, cell] = sum (or mean) of rows of that cell; `weights` given: contribution j is corner j % 8 of row j / 8.
template <typename T>
__global__ void fill_planes_kernel(const T* rows, const float* weights, const int32_t* members, const int32_t* begin,
                                   int64_t clouds, int64_t channels, int64_t size, T* planes, int64_t* counts) {
  using A = Accumulator<T>;
  MAE3D_GRID_STRIDE(k, clouds * channels * size) {
    const int64_t cell = k % size, c = k / size % channels, b = k / size / channels, at = b * size + cell;
    const int32_t first = begin[at], last = begin[at + 1];
    A sum = 0;
    for (int32_t j = first; j < last; ++j) {
      const int64_t member = members[j];
      if (weights)
        sum += static_cast<A>(weights[member]) * static_cast<A>(rows[member / 8 * channels + c]);
      else
        sum += static_cast<A>(rows[member * channels + c]);
    }
    if (counts && last - first > 1) sum /= static_cast<A>(last - first);
    planes[k] = static_cast<T>(sum);
  }
  if (counts) MAE3D_GRID_STRIDE(at, clouds * size) counts[at] = begin[at + 1] - begin[at];
}

template <typename T>
__global__ void average_backward_kernel(const T* planes, const int64_t* cells, const int64_t* counts, int64_t clouds,
                                        int64_t points, int64_t channels, int64_t r, T* rows) {
  using A = Accumulator<T>;
  const int64_t size = r * r * r;
  MAE3D_GRID_STRIDE(k, clouds * points * channels) {
    const int64_t c = k % channels, i = k / channels, b = i / points;
    const int32_t cell = flat_cell(cells + 3 * i, r);
    A value = 0;
    if (cell >= 0) {
      const int64_t count = counts[b * size + cell];
      value = static_cast<A>(planes[(b * channels + c) * size + cell]) / static_cast<A>(count < 1 ? 1 : count);
    }
    rows[k] = static_cast<T>(value);
  }
}

// Threads of a warp are neighbouring points of one channel: planes are read near each other.
template <typename T>
__global__ void read_planes_kernel(const T* planes, const float* coordinates, int64_t clouds, int64_t points,
                                   int64_t channels, int64_t r, T* rows) {
  using A = Accumulator<T>;
  const int64_t size = r * r * r;
  MAE3D_GRID_STRIDE(k, clouds * channels * points) {
    const int64_t i = k % points, c = k / points % channels, b = k / points / channels;
    const T* plane = planes + (b * channels + c) * size;
    A sum = 0;
    for (int corner = 0; corner < 8; ++corner) {
      int32_t cell;
      float weight;
      trilinear_corner(coordinates + 3 * (b * points + i), static_cast<int32_t>(r), corner, cell, weight);
      sum += static_cast<A>(weight) * static_cast<A>(plane[cell]);
    }
    rows[(b * points + i) * channels + c] = static_cast<T>(sum);
  }
}

void check_sortable(int64_t contributions, int64_t cells, const char* op) {
  MAE3D_CHECK(contributions < (int64_t{1} << 31) && cells < (int64_t{1} << 31), op,
              ": batch x points and batch x cells must each be below 2^31 (2^28 points), got ", contributions,
              " contributions to ", cells, " cells");
}

}  // namespace

std::tuple<Tensor, Tensor> voxel_average_cuda(const Tensor& features, const Tensor& cells, int64_t resolution) {
  const char* op = "voxel_average";
  check_dim(features, 3, op, "features");
  check_triples(cells, ScalarType::Long, features, features.size(1), op, "cells");
  check_resolution(resolution, op);
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), at = as_contiguous(cells);
  const int64_t clouds = f.size(0), points = f.size(1), channels = f.size(2);
  const int64_t r = resolution, size = r * r * r, rows = clouds * points;
  check_sortable(rows, clouds * size, op);
  const Tensor grid = make_empty(f, {clouds, channels, r, r, r}, f.scalar_type());
  const Tensor counts = make_empty(f, {clouds, r, r, r}, ScalarType::Long);
  const Tensor index = make_empty(f, {rows}, ScalarType::Long);
  cell_index_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(cdata<int64_t>(at), rows, points, r,
                                                                             mdata<int64_t>(index));
  const Segments segments = find_segments(index, clouds * size, scope.stream, op);
  dispatch_float(f, op, "features", [&](auto zero) {
    using T = decltype(zero);
    fill_planes_kernel<T><<<grid_for(clouds * std::max<int64_t>(channels, 1) * size, kThreads), kThreads, 0,
                            scope.stream>>>(cdata<T>(f), nullptr, cdata<int32_t>(segments.rows),
                                            cdata<int32_t>(segments.begin), clouds, channels, size, mdata<T>(grid),
                                            mdata<int64_t>(counts));
  });
  check_cuda(cudaGetLastError(), op);
  return {grid, counts};
}

Tensor voxel_average_backward_cuda(const Tensor& grad, const Tensor& cells, const Tensor& counts) {
  check_average_backward(grad, cells, counts);
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), at = as_contiguous(cells), n = as_contiguous(counts);
  const int64_t clouds = g.size(0), points = at.size(1), channels = g.size(1);
  const Tensor out = make_empty(g, {clouds, points, channels}, g.scalar_type());
  dispatch_float(g, "voxel_average_backward", "grad", [&](auto zero) {
    using T = decltype(zero);
    average_backward_kernel<T><<<grid_for(clouds * points * channels, kThreads), kThreads, 0, scope.stream>>>(
        cdata<T>(g), cdata<int64_t>(at), cdata<int64_t>(n), clouds, points, channels, g.size(2), mdata<T>(out));
  });
  check_cuda(cudaGetLastError(), "voxel_average_backward");
  return out;
}

Tensor trilinear_devoxelize_cuda(const Tensor& grid, const Tensor& coordinates) {
  const char* op = "trilinear_devoxelize";
  check_grid(grid, op, "grid");
  check_triples(coordinates, ScalarType::Float, grid, -1, op, "coordinates");
  const CudaScope scope(grid);
  const Tensor g = as_contiguous(grid), u = as_contiguous(coordinates);
  const int64_t clouds = g.size(0), channels = g.size(1), points = u.size(1);
  const Tensor out = make_empty(g, {clouds, points, channels}, g.scalar_type());
  dispatch_float(g, op, "grid", [&](auto zero) {
    using T = decltype(zero);
    read_planes_kernel<T><<<grid_for(clouds * points * channels, kThreads), kThreads, 0, scope.stream>>>(
        cdata<T>(g), cdata<float>(u), clouds, points, channels, g.size(2), mdata<T>(out));
  });
  check_cuda(cudaGetLastError(), op);
  return out;
}

Tensor trilinear_devoxelize_backward_cuda(const Tensor& grad, const Tensor& coordinates, int64_t resolution) {
  const char* op = "trilinear_devoxelize_backward";
  check_dim(grad, 3, op, "grad");
  check_resolution(resolution, op);
  check_triples(coordinates, ScalarType::Float, grad, grad.size(1), op, "coordinates");
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), u = as_contiguous(coordinates);
  const int64_t clouds = g.size(0), points = g.size(1), channels = g.size(2);
  const int64_t r = resolution, size = r * r * r, rows = clouds * points;
  check_sortable(8 * rows, clouds * size, op);
  const Tensor out = make_empty(g, {clouds, channels, r, r, r}, g.scalar_type());
  const Tensor index = make_empty(g, {8 * rows}, ScalarType::Long);
  const Tensor weights = make_empty(g, {8 * rows}, ScalarType::Float);
  corner_index_kernel<<<grid_for(8 * rows, kThreads), kThreads, 0, scope.stream>>>(
      cdata<float>(u), rows, points, r, mdata<int64_t>(index), mdata<float>(weights));
  const Segments segments = find_segments(index, clouds * size, scope.stream, op);
  dispatch_float(g, op, "grad", [&](auto zero) {
    using T = decltype(zero);
    fill_planes_kernel<T><<<grid_for(clouds * channels * size, kThreads), kThreads, 0, scope.stream>>>(
        cdata<T>(g), cdata<float>(weights), cdata<int32_t>(segments.rows), cdata<int32_t>(segments.begin), clouds,
        channels, size, mdata<T>(out), nullptr);
  });
  check_cuda(cudaGetLastError(), op);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("voxel_average", TORCH_BOX(&voxel_average_cuda));
  m.impl("voxel_average_backward", TORCH_BOX(&voxel_average_backward_cuda));
  m.impl("trilinear_devoxelize", TORCH_BOX(&trilinear_devoxelize_cuda));
  m.impl("trilinear_devoxelize_backward", TORCH_BOX(&trilinear_devoxelize_backward_cuda));
}

}  // namespace mae3d
