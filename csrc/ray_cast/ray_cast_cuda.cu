#include "ray_cast.h"

#include "common/cuda.cuh"

namespace mae3d {
namespace {

constexpr int kThreads = 128;
constexpr int kBatch = 64;  // slices held in shared memory at a time

// One block a column. Threads cut solids into slices together, then each thread follows its own beams.
__global__ void ray_cast_kernel(const float* origins, const float* azimuths, const float* elevations,
                                const float* primitives, int64_t columns, int64_t beams, int64_t count, float ground_z,
                                float limit, float* ranges, int64_t* index, float* cosine) {
  __shared__ Slice slices[kBatch];
  __shared__ bool present[kBatch];
  for (int64_t a = blockIdx.x; a < columns; a += gridDim.x) {
    const float heading = azimuths[a];
    const Column column{origins[3 * a], origins[3 * a + 1], origins[3 * a + 2], cosf(heading), sinf(heading)};
    // Beams are taken in rounds of blockDim.x, so that all threads reach every barrier.
    for (int64_t first = 0; first < beams; first += blockDim.x) {
      const int64_t e = first + threadIdx.x;
      const bool mine = e < beams;
      const float angle = mine ? elevations[e] : 0.f;
      const float slope = tanf(angle), level = cosf(angle);
      float best = INFINITY, best_cosine = 0.f;
      int64_t best_index = kNothing;
      for (int64_t start = 0; start < count; start += kBatch) {
        const int in_batch = static_cast<int>(min(static_cast<int64_t>(kBatch), count - start));
        __syncthreads();
        for (int i = threadIdx.x; i < in_batch; i += blockDim.x)
          present[i] = make_slice(primitives + 8 * (start + i), column, limit, start + i, slices[i]);
        __syncthreads();
        for (int i = 0; mine && i < in_batch; ++i) {
          if (!present[i]) continue;
          const Hit hit = slices[i].kind == 2 ? hit_ellipse(slices[i], slope, level) : hit_slab(slices[i], slope, level);
          if (hit.distance < best) best = hit.distance, best_cosine = hit.cosine, best_index = slices[i].index;
        }
      }
      if (!mine) continue;
      const float drop = ground_z - column.z;
      if (drop < 0.f && slope < 0.f && drop / slope < best)
        best = drop / slope, best_cosine = fabsf(slope) * level, best_index = kGround;
      const float range = best / level;
      const bool seen = range <= limit;
      ranges[a * beams + e] = seen ? range : INFINITY;
      index[a * beams + e] = seen ? best_index : kNothing;
      cosine[a * beams + e] = seen ? best_cosine : 0.f;
    }
  }
}

std::tuple<Tensor, Tensor, Tensor> ray_cast(const Tensor& origins, const Tensor& azimuths, const Tensor& elevations,
                                            const Tensor& primitives, double ground_z, double max_range) {
  check_ray_cast(origins, azimuths, elevations, primitives);
  CudaScope scope(origins);
  const Tensor o = as_contiguous(origins), az = as_contiguous(azimuths), el = as_contiguous(elevations),
               pr = as_contiguous(primitives);
  const int64_t columns = o.size(0), beams = el.size(0);
  Tensor ranges = make_empty(o, {columns, beams}, ScalarType::Float);
  Tensor index = make_empty(o, {columns, beams}, ScalarType::Long);
  Tensor cosine = make_empty(o, {columns, beams}, ScalarType::Float);
  if (columns > 0 && beams > 0) {
    ray_cast_kernel<<<grid_for(columns * kThreads, kThreads), kThreads, 0, scope.stream>>>(
        cdata<float>(o), cdata<float>(az), cdata<float>(el), cdata<float>(pr), columns, beams, pr.size(0),
        static_cast<float>(ground_z), static_cast<float>(max_range), mdata<float>(ranges), mdata<int64_t>(index),
        mdata<float>(cosine));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {ranges, index, cosine};
}

}  // namespace
}  // namespace mae3d

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) { m.impl("ray_cast", TORCH_BOX(&mae3d::ray_cast)); }
