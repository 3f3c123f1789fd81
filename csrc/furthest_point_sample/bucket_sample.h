// The sampling loop over a BucketTree.
#pragma once

#include "bucket_tree.h"

namespace mae3d::fps {

struct Pick {
  float position[3];
  Lanes lanes[3];  // the same, once per lane
};

// Squared distance from the pick to each of sixteen boxes, 0 inside.
MAE3D_INLINE Lanes squared_distance_to(const Boxes& boxes, const Pick& p) {
  Lanes d[3];
  for (int a = 0; a < 3; ++a)
    d[a] = maximum(maximum(boxes.low[a] - p.lanes[a], p.lanes[a] - boxes.high[a]), broadcast(0.0f));
  return squared_length(d[0], d[1], d[2]);
}

MAE3D_INLINE Lanes squared_distance_to(const Lanes* position, const Pick& p) {
  return squared_length(position[0] - p.lanes[0], position[1] - p.lanes[1], position[2] - p.lanes[2]);
}

// Applies all waiting picks to the points of one bucket and finds its farthest point again.
MAE3D_INLINE void refresh(Group& group, int lane, Chunk* chunks, const int32_t* index) {
  const int32_t first = group.first_chunk[lane], last = group.last_chunk[lane], picks = group.waiting[lane];
  Lanes best = broadcast(-1.0f);
  IntLanes best_chunk = broadcast(0);
  for (int32_t c = first; c < last; ++c) {
    Chunk& chunk = chunks[c];
    const Lanes x = chunk.position[0], y = chunk.position[1], z = chunk.position[2];
    Lanes distance = chunk.distance;
    for (int32_t i = 0; i < picks; ++i) {
      const float* pick = group.queue[lane][i];
      distance = minimum(squared_length(x - broadcast(pick[0]), y - broadcast(pick[1]), z - broadcast(pick[2])),
                         distance);
    }
    chunk.distance = distance;
    const IntLanes better = distance > best;
    best = better ? distance : best;
    best_chunk = better ? broadcast(c) : best_chunk;
  }
  const float value = largest(best);
  const IntLanes lane_number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int32_t place = smallest_key(best_chunk * broadcast(int32_t(kLanes)) + lane_number,
                                     bits(best == broadcast(value)));
  const Chunk& chunk = chunks[place / kLanes];
  for (int a = 0; a < 3; ++a) group.far_position[a][lane] = chunk.position[a][place % kLanes];
  group.distance[lane] = value;
  group.far_index[lane] = index[place];
  group.waiting[lane] = 0;
}

// Offers the pick to sixteen buckets; true if the farthest point of one of them changed.
MAE3D_INLINE bool visit(Group& group, const Pick& pick, Chunk* chunks, const int32_t* index) {
  uint32_t near = bits(squared_distance_to(group.boxes, pick) < group.distance);
  const uint32_t hit = bits(squared_distance_to(group.far_position, pick) < group.distance) & near;
  for (; near; near &= near - 1) {
    const int lane = __builtin_ctz(near);
    int32_t& waiting = group.waiting[lane];
    std::memcpy(group.queue[lane][waiting], pick.position, sizeof pick.position);
    ++waiting;
    if (waiting == kWaiting || (hit >> lane & 1)) refresh(group, lane, chunks, index);
  }
  return hit != 0;
}

// Offers the pick to every group of a block.
MAE3D_INLINE void visit(GroupBlock& block, Group* groups, const Pick& pick, Chunk* chunks, const int32_t* index) {
  uint32_t near = bits(squared_distance_to(block.boxes, pick) < block.distance);
  for (; near; near &= near - 1) {
    const int lane = __builtin_ctz(near);
    Group& group = groups[lane];
    if (!visit(group, pick, chunks, index)) continue;
    const float value = largest(group.distance);
    block.distance[lane] = value;
    block.far_index[lane] = smallest_key(group.far_index, bits(group.distance == broadcast(value)));
  }
}

// Row of the cloud of the farthest point, the lowest of several; -1 where there is no candidate.
MAE3D_INLINE int64_t farthest(const GroupBlock* blocks, int64_t block_count) {
  Lanes best = broadcast(-1.0f);
  IntLanes best_index = broadcast(0);
  for (int64_t b = 0; b < block_count; ++b) {
    const Lanes distance = blocks[b].distance;
    const IntLanes better = (distance > best) | ((distance == best) & (blocks[b].far_index < best_index));
    best = better ? distance : best;
    best_index = better ? blocks[b].far_index : best_index;
  }
  const float value = largest(best);
  return value < 0.0f ? -1 : smallest_key(best_index, bits(best == broadcast(value)));
}

MAE3D_SIMD static void run_buckets(const Request& r, GroupBlock* blocks, int64_t block_count, Group* groups, Chunk* chunks,
                              const int32_t* index) {
  int64_t current = r.start;
  for (int64_t s = 0; s < r.samples; ++s) {
    r.out[s] = r.base + current;
    if (s + 1 == r.samples) return;
    Pick pick;
    for (int a = 0; a < 3; ++a) pick.lanes[a] = broadcast(pick.position[a] = r.points[3 * current + a]);
    for (int64_t b = 0; b < block_count; ++b) visit(blocks[b], groups + b * kLanes, pick, chunks, index);
    const int64_t next = farthest(blocks, block_count);
    current = next < 0 ? r.start : next;
  }
}

inline void sample_by_buckets(const Request& r, int64_t leaf_size, BucketTree& tree) {
  tree.build(r, leaf_size);
  run_buckets(r, tree.blocks, tree.block_count, tree.groups, tree.chunks, tree.index);
}

}  // namespace mae3d::fps
