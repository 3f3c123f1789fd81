#include "points_in_boxes.h"

#include "../common/cuda.cuh"

namespace mae3d {
namespace {

using boxes::Box;
using boxes::Ragged;

constexpr int kThreads = 128;
constexpr int kTile = 64;  // boxes in shared memory

struct Rows {
  const int64_t* offsets;
  int64_t batch, per_sample, total;

  __device__ int64_t clamp(int64_t offset) const { return offset < 0 ? 0 : offset > total ? total : offset; }
  __device__ int64_t begin(int64_t sample) const { return offsets ? clamp(offsets[sample]) : sample * per_sample; }
  __device__ int64_t end(int64_t sample) const { return begin(sample + 1); }
};

Rows rows_of(const Ragged& r) {
  return {r.offsets ? cdata<int64_t>(*r.offsets) : nullptr, r.batch, r.per_sample, r.total};
}

template <typename T> __global__ void load_boxes(const T* values, int64_t count, Box* list) {
  MAE3D_GRID_STRIDE(i, count) list[i] = boxes::load_box(values + i * boxes::kParameters);
}

// Rows that bad offsets leave out of every sample are in no box.
__global__ void forget(int64_t* index, int64_t count) { MAE3D_GRID_STRIDE(i, count) index[i] = -1; }

// grid.y walks samples, grid.x and threads the points of one sample; boxes pass through shared memory. Counts are
// integers: the order of the atomic additions does not show.
template <typename T>
__global__ void find_boxes(const T* points, const Box* list, Rows point_rows, Rows box_rows, int64_t* index,
                           unsigned long long* counts) {
  __shared__ Box tile[kTile];
  __shared__ int inside[kTile];
  for (int64_t sample = blockIdx.y; sample < point_rows.batch; sample += gridDim.y) {
    const int64_t first = point_rows.begin(sample), last = point_rows.end(sample);
    const int64_t box_begin = box_rows.begin(sample), box_end = box_rows.end(sample);
    for (int64_t base = first + static_cast<int64_t>(blockIdx.x) * kThreads; base < last;
         base += static_cast<int64_t>(gridDim.x) * kThreads) {
      const int64_t i = base + threadIdx.x;
      const bool real = i < last;
      const double x = real ? points[3 * i] : NAN, y = real ? points[3 * i + 1] : 0, z = real ? points[3 * i + 2] : 0;
      int64_t found = -1;
      for (int64_t begin = box_begin; begin < box_end; begin += kTile) {
        const int size = static_cast<int>(min(static_cast<int64_t>(kTile), box_end - begin));
        if (threadIdx.x < size) tile[threadIdx.x] = list[begin + threadIdx.x], inside[threadIdx.x] = 0;
        __syncthreads();
        for (int j = 0; j < size; ++j) {
          if (!boxes::holds(tile[j], x, y, z)) continue;
          if (found < 0) found = begin + j - (box_rows.offsets ? 0 : box_begin);
          atomicAdd(&inside[j], 1);
        }
        __syncthreads();
        if (threadIdx.x < size && inside[threadIdx.x])
          atomicAdd(&counts[begin + threadIdx.x], static_cast<unsigned long long>(inside[threadIdx.x]));
        __syncthreads();
      }
      if (real) index[i] = found;
    }
  }
}

template <typename T>
void find(const Ragged& points, const Ragged& boxes, Tensor& index, Tensor& counts, cudaStream_t stream) {
  if (points.total == 0) return;
  forget<<<grid_for(points.total, kThreads), kThreads, 0, stream>>>(mdata<int64_t>(index), points.total);
  Tensor memory =
      make_empty(boxes.rows, {boxes.total * static_cast<int64_t>(sizeof(Box)) + 1}, ScalarType::Byte);
  Box* list = reinterpret_cast<Box*>(mdata<uint8_t>(memory));
  if (boxes.total)
    load_boxes<<<grid_for(boxes.total, kThreads), kThreads, 0, stream>>>(cdata<T>(boxes.rows), boxes.total, list);
  const int64_t longest = points.offsets ? points.total : points.per_sample;  // packed: lengths are on the device
  const dim3 grid(grid_for(longest, kThreads), static_cast<unsigned>(points.batch < 65535 ? points.batch : 65535));
  find_boxes<<<grid, kThreads, 0, stream>>>(cdata<T>(points.rows), list, rows_of(points), rows_of(boxes),
                                            mdata<int64_t>(index),
                                            reinterpret_cast<unsigned long long*>(mdata<int64_t>(counts)));
}

}  // namespace

std::tuple<Tensor, Tensor> points_in_boxes_cuda(const Tensor points, const Tensor boxes,
                                                const OptionalTensor points_offsets,
                                                const OptionalTensor boxes_offsets) {
  const CudaScope scope(points);
  const Ragged p = mae3d::boxes::ragged(points, points_offsets, 3, "points");
  const Ragged b = mae3d::boxes::ragged(boxes, boxes_offsets, mae3d::boxes::kParameters, "boxes");
  mae3d::boxes::check_samples(p, b);
  Tensor index = make_empty(points, mae3d::boxes::shape_of(p), ScalarType::Long);
  Tensor counts = torch::stable::new_zeros(points, mae3d::boxes::shape_of(b), ScalarType::Long);
  points.scalar_type() == ScalarType::Float ? find<float>(p, b, index, counts, scope.stream)
                                            : find<double>(p, b, index, counts, scope.stream);
  const cudaError_t error = cudaGetLastError();
  MAE3D_CHECK(error == cudaSuccess, "points_in_boxes: CUDA kernel launch failed: ", cudaGetErrorString(error));
  return {index, counts};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) { m.impl("points_in_boxes", TORCH_BOX(&points_in_boxes_cuda)); }

}  // namespace mae3d
