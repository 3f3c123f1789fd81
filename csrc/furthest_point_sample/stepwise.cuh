// One launch per sample, all multiprocessors on it: for clouds that are far larger than a cluster's registers, and
// for devices without clusters. Launch order is the only synchronisation, so it needs no cooperative launch.
#pragma once

#include "clouds.cuh"

namespace mae3d::fps {

constexpr int kStepThreads = 256;
constexpr int kMaxStepBlocks = 256;  // per cloud; one partial result each, read by one thread each

// Sample s of every cloud. Grid: (blocks, B). `partial` holds two sets of [B, blocks] results, used in turn.
__global__ void __launch_bounds__(kStepThreads) sample_step(Clouds clouds, int64_t s, float* memory, Best* partial) {
  __shared__ Best warps[2][kStepThreads / 32];
  const Cloud cloud = cloud_of(clouds, blockIdx.y);
  if (s >= cloud.samples) return;  // the same for all blocks of the cloud
  const int64_t set = static_cast<int64_t>(gridDim.x) * gridDim.y;
  Best* results = partial + (s & 1) * set + static_cast<int64_t>(blockIdx.y) * gridDim.x;
  const Best* previous = partial + ((s + 1) & 1) * set + static_cast<int64_t>(blockIdx.y) * gridDim.x;

  int current = cloud.start;
  if (s > 0) {
    const Best mine = threadIdx.x < gridDim.x ? previous[threadIdx.x] : Best::none();
    const Best best = best_of_block<kStepThreads>(mine, warps[0]);
    if (best.distance >= 0) current = static_cast<int>(best.index);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) cloud.out[s] = cloud.base + current;
  if (s + 1 == cloud.samples) return;

  const float* pick = cloud.points + 3 * static_cast<int64_t>(current);
  const float px = pick[0], py = pick[1], pz = pick[2];
  float* distance = memory + cloud.begin;
  Best best = Best::none();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kStepThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kStepThreads + threadIdx.x; i < cloud.count; i += step) {
    const float* p = cloud.points + 3 * i;
    const float before = s == 0 ? first_distance(p, clouds.skip) : distance[i];
    const float lower = fminf(squared_distance(p[0], p[1], p[2], px, py, pz), before);
    distance[i] = lower;
    best.offer(lower, static_cast<unsigned>(i));
  }
  best = best_of_block<kStepThreads>(best, warps[1]);
  if (threadIdx.x == 0) results[blockIdx.x] = best;
}

}  // namespace mae3d::fps
