// One block, or one cluster of blocks (sm_90 and later), per cloud. Points and distances stay in registers; what
// does not fit is read from memory in every step, so that any size is right and the usual ones are fast.
#pragma once

#include "clouds.cuh"
#include "cluster.cuh"

namespace mae3d::fps {

constexpr int kPerThread = 8;  // points in the registers of a thread
constexpr int kMaxCluster = 16;

struct ClusterBest {
  Best best;
  float x, y, z;
};

// Points of the cloud that one thread owns: rows first, first + step, ...
template <int kPoints> struct Share {
  float x[kPoints], y[kPoints], z[kPoints], distance[kPoints];

  __device__ Share(const Cloud& cloud, float skip, int first, int step) {
#pragma unroll
    for (int p = 0; p < kPoints; ++p) {
      const int64_t i = first + static_cast<int64_t>(p) * step;
      const bool present = i < cloud.count;
      const float* point = cloud.points + 3 * (present ? i : 0);
      x[p] = point[0], y[p] = point[1], z[p] = point[2];
      distance[p] = present ? first_distance(point, skip) : -1.0f;
    }
  }

  __device__ Best update(float px, float py, float pz, int first, int step) {
    Best best = Best::none();
#pragma unroll
    for (int p = 0; p < kPoints; ++p) {
      distance[p] = fminf(squared_distance(x[p], y[p], z[p], px, py, pz), distance[p]);  // NaN lowers nothing
      best.offer(distance[p], first + p * step);
    }
    return best;
  }
};

// Rows from `first` on in steps of `step`, distances in memory that no other thread touches.
__device__ inline void update_tail(Best& best, const Cloud& cloud, float* distance, int64_t first, int64_t step,
                                   float px, float py, float pz) {
  for (int64_t i = first; i < cloud.count; i += step) {
    const float* p = cloud.points + 3 * i;
    const float lower = fminf(squared_distance(p[0], p[1], p[2], px, py, pz), distance[i]);
    distance[i] = lower;
    best.offer(lower, static_cast<unsigned>(i));
  }
}

template <int kThreads, bool kCluster>
__global__ void __launch_bounds__(kThreads, 1) sample_resident(Clouds clouds, float* memory) {
  __shared__ Best warps[2][32];
  __shared__ ClusterBest blocks[2][kMaxCluster];
  const int rank = kCluster ? cluster_rank() : 0, size = kCluster ? cluster_size() : 1;
  // Every block of a cluster has the same cloud, so that all of them leave together or stay together.
  const Cloud cloud = cloud_of(clouds, blockIdx.x / size);
  if (cloud.samples == 0) return;

  const int first = rank * kThreads + threadIdx.x, step = size * kThreads;
  const int64_t tail = first + static_cast<int64_t>(kPerThread) * step;
  Share<kPerThread> share(cloud, clouds.skip, first, step);
  float* distance = memory + cloud.begin;  // touched from `tail` on only
  for (int64_t i = tail; i < cloud.count; i += step) distance[i] = first_distance(cloud.points + 3 * i, clouds.skip);

  int current = cloud.start;
  const float* start = cloud.points + 3 * static_cast<int64_t>(cloud.start);
  float x = start[0], y = start[1], z = start[2];
  for (int64_t s = 0;; ++s) {
    if (first == 0) cloud.out[s] = cloud.base + current;
    if (s + 1 == cloud.samples) return;  // nobody reads another block's memory after the last barrier
    Best best = share.update(x, y, z, first, step);
    if (tail < cloud.count) update_tail(best, cloud, distance, tail, step, x, y, z);
    best = best_of_block<kThreads>(best, warps[s & 1]);
    const float* p = cloud.points + 3 * static_cast<int64_t>(best.distance < 0 ? cloud.start : best.index);
    if constexpr (kCluster) {
      ClusterBest* slots = blocks[s & 1];  // written again two steps on, when every block has passed the next barrier
      const int lane = threadIdx.x % 32;
      if (static_cast<int>(threadIdx.x) < size) *shared_of(slots + rank, lane) = {best, p[0], p[1], p[2]};
      cluster_sync();
      best = best_of_warp(lane < size ? slots[lane].best : Best::none());
      // The winner's block: rows are dealt to blocks kThreads at a time.
      const ClusterBest& winner = slots[best.distance < 0 ? 0 : best.index / kThreads % size];
      x = winner.x, y = winner.y, z = winner.z;
    } else {
      x = p[0], y = p[1], z = p[2];
    }
    current = best.distance < 0 ? cloud.start : static_cast<int>(best.index);
  }
}

}  // namespace mae3d::fps
