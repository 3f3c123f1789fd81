// The clouds of a launch, dense or packed, as the kernels see them.
#pragma once

#include <math_constants.h>

#include "../common/cuda.cuh"
#include "furthest_point_sample.h"

namespace mae3d::fps {

struct Clouds {
  const float* points;             // [total_points, 3]
  const int64_t* offsets;          // [B + 1], null when dense
  const int64_t* sample_offsets;   // [B + 1], null when dense
  const int64_t* start;            // [B]
  int64_t* out;                    // [total_samples]
  int64_t total_points, total_samples;
  int64_t count, samples;          // of every cloud, when dense
  float skip;
};

struct Cloud {
  const float* points;
  int64_t begin;  // first global row
  int64_t base;   // added to every index
  int count, start;
  int64_t samples;
  int64_t* out;
};

__device__ inline int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// What the host has not read is clamped into range. No samples where there is no point.
__device__ inline Cloud cloud_of(const Clouds& all, int64_t b) {
  int64_t begin = b * all.count, count = all.count, first = b * all.samples, samples = all.samples;
  if (all.offsets) {
    begin = clamped(all.offsets[b], 0, all.total_points);
    count = clamped(all.offsets[b + 1], begin, all.total_points) - begin;
    first = clamped(all.sample_offsets[b], 0, all.total_samples);
    samples = clamped(all.sample_offsets[b + 1], first, all.total_samples) - first;
  }
  const int start = static_cast<int>(count > 0 ? clamped(all.start[b], 0, count - 1) : 0);
  return {all.points + 3 * begin,  begin, all.offsets ? begin : 0,
          static_cast<int>(count), start, count > 0 ? samples : 0,
          all.out + first};
}

__device__ inline float first_distance(const float* p, float skip) {
  return is_candidate(p[0], p[1], p[2], skip) ? CUDART_INF_F : -1.0f;
}

// The farthest point seen so far. Distances are >= 0 or -1, so that their bits order like signed integers.
struct Best {
  int distance;
  unsigned index;

  static __device__ Best none() { return {__float_as_int(-1.0f), 0xffffffffu}; }

  // Later indices must be offered later: the first of equals stays.
  __device__ void offer(float d, unsigned i) {
    const int bits = __float_as_int(d);
    if (bits > distance) distance = bits, index = i;
  }
};

// Largest distance of the warp, lowest index of equals; the same in every lane. All 32 lanes must call.
__device__ inline Best best_of_warp(Best mine) {
  Best best;
  best.distance = __reduce_max_sync(0xffffffffu, mine.distance);
  best.index = __reduce_min_sync(0xffffffffu, mine.distance == best.distance ? mine.index : 0xffffffffu);
  return best;
}

// Best of a block, the same in every thread. `slot` holds one entry per warp and must not be written again before
// the next barrier has passed.
template <int kThreads> __device__ Best best_of_block(Best mine, Best* slot) {
  mine = best_of_warp(mine);
  const int lane = threadIdx.x % 32;
  if (lane == 0) slot[threadIdx.x / 32] = mine;
  __syncthreads();
  return best_of_warp(lane < kThreads / 32 ? slot[lane] : Best::none());
}

}  // namespace mae3d::fps
