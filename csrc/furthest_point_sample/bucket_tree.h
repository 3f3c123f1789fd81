// Exact sampling that touches few points: the cloud lies in buckets (leaves of a kd-tree), each with its bounding
// box and its farthest point. A new pick concerns a bucket only if it is nearer to the box than the farthest
// point's distance, and changes what matters, the farthest point, only if it is nearer to that point too; else it
// waits and is applied with the next pick that does (idea: QuickFPS, Han et al., TCAD 2023). Sixteen buckets form
// a group that is tested with one vector instruction each; groups have boxes of their own.
//
// The same indices as brute force: distances round monotonically, so a box bound never exceeds the rounded
// distance of a point in the box, and a waiting pick lowers nothing that could win or tie with a lower index.
#pragma once

#include "furthest_point_sample.h"
#include "partition.h"
#include "request.h"

namespace mae3d::fps {

constexpr int kWaiting = 8;  // picks a bucket may put off

struct Chunk {  // sixteen points of one bucket; absent ones repeat a point and have distance -1
  Lanes position[3];
  Lanes distance;
};

struct Boxes {
  Lanes low[3], high[3];

  void set(int lane, const float* lower, const float* upper) {
    for (int a = 0; a < 3; ++a) low[a][lane] = lower[a], high[a][lane] = upper[a];
  }
};

struct Group {  // sixteen buckets; absent ones have distance -1
  Boxes boxes;
  Lanes far_position[3];  // the farthest point of each bucket,
  Lanes distance;         // its distance,
  IntLanes far_index;     // and its row of the cloud
  int32_t first_chunk[kLanes], last_chunk[kLanes];
  int32_t waiting[kLanes];
  float queue[kLanes][kWaiting][3];
};

struct GroupBlock {  // sixteen groups; absent ones have distance -1
  Boxes boxes;
  Lanes distance;
  IntLanes far_index;
};

class BucketTree {
 public:
  void build(const Request& r, int64_t leaf_size);

  Group* groups = nullptr;
  GroupBlock* blocks = nullptr;
  Chunk* chunks = nullptr;
  int32_t* index = nullptr;  // row of the cloud of every place in `chunks`
  int64_t block_count = 0;

 private:
  int64_t collect(const Request& r);
  void fill(const Leaf& leaf, int64_t number, int64_t first_chunk);
  void summarise(const Leaf* leaves, int64_t leaf_count, int64_t group_count);

  Buffer<Item> items_, spare_;
  Buffer<Chunk> chunk_memory_;
  Buffer<int32_t> index_memory_;
  Buffer<Group> group_memory_;
  Buffer<GroupBlock> block_memory_;
};

// Gathers the candidates of the cloud, in ascending order of index.
inline int64_t BucketTree::collect(const Request& r) {
  Item* item = items_.reserve(r.count);
  for (int64_t i = 0; i < r.count; ++i) {
    const float x = r.points[3 * i], y = r.points[3 * i + 1], z = r.points[3 * i + 2];
    *item = {{x, y, z}, static_cast<int32_t>(i)};
    item += is_candidate(x, y, z, r.skip);
  }
  return item - items_.data();
}

inline void BucketTree::build(const Request& r, int64_t leaf_size) {
  const int64_t count = collect(r);
  const std::vector<Leaf> leaves = Partition(items_.data(), spare_.reserve(r.count), leaf_size).run(count);
  const int64_t leaf_count = static_cast<int64_t>(leaves.size());
  const int64_t group_count = (leaf_count + kLanes - 1) / kLanes;
  std::vector<int64_t> first_chunk(leaf_count + 1, 0);
  for (int64_t i = 0; i < leaf_count; ++i)
    first_chunk[i + 1] = first_chunk[i] + (leaves[i].end - leaves[i].begin + kLanes - 1) / kLanes;

  chunks = chunk_memory_.reserve(first_chunk[leaf_count]);
  index = index_memory_.reserve(first_chunk[leaf_count] * kLanes);
  groups = group_memory_.reserve(group_count);
  parallel_for(0, group_count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      groups[g] = Group{};
      groups[g].distance = Lanes{} - 1.0f;
    }
    for (int64_t i = begin * kLanes; i < std::min(leaf_count, end * kLanes); ++i) fill(leaves[i], i, first_chunk[i]);
  });
  summarise(leaves.data(), leaf_count, group_count);
}

// Bucket `number` from its leaf; nothing is picked yet, so its farthest point is the first, infinitely far.
inline void BucketTree::fill(const Leaf& leaf, int64_t number, int64_t first_chunk) {
  const int64_t size = leaf.end - leaf.begin, chunk_count = (size + kLanes - 1) / kLanes;
  const Item* items = items_.data() + leaf.begin;
  for (int64_t i = 0; i < chunk_count * kLanes; ++i) {
    const Item& item = items[i < size ? i : 0];
    Chunk& chunk = chunks[first_chunk + i / kLanes];
    for (int a = 0; a < 3; ++a) chunk.position[a][i % kLanes] = item.position[a];
    chunk.distance[i % kLanes] = i < size ? std::numeric_limits<float>::infinity() : -1.0f;
    index[first_chunk * kLanes + i] = item.index;
  }
  Group& group = groups[number / kLanes];
  const int lane = static_cast<int>(number % kLanes);
  group.boxes.set(lane, leaf.low, leaf.high);
  for (int a = 0; a < 3; ++a) group.far_position[a][lane] = items->position[a];
  group.far_index[lane] = items->index;
  group.distance[lane] = std::numeric_limits<float>::infinity();
  group.first_chunk[lane] = static_cast<int32_t>(first_chunk);
  group.last_chunk[lane] = static_cast<int32_t>(first_chunk + chunk_count);
}

// The upper level: box and farthest point of every group.
inline void BucketTree::summarise(const Leaf* leaves, int64_t leaf_count, int64_t group_count) {
  block_count = (group_count + kLanes - 1) / kLanes;
  blocks = block_memory_.reserve(block_count);
  for (int64_t b = 0; b < block_count; ++b) {
    blocks[b] = GroupBlock{};
    blocks[b].distance = Lanes{} - 1.0f;
  }
  for (int64_t g = 0; g < group_count; ++g) {
    Leaf all = leaves[g * kLanes];
    GroupBlock& block = blocks[g / kLanes];
    const int lane = static_cast<int>(g % kLanes);
    block.far_index[lane] = groups[g].far_index[0];
    for (int64_t i = g * kLanes; i < std::min(leaf_count, (g + 1) * kLanes); ++i) {
      for (int a = 0; a < 3; ++a) all.low[a] = std::min(all.low[a], leaves[i].low[a]);
      for (int a = 0; a < 3; ++a) all.high[a] = std::max(all.high[a], leaves[i].high[a]);
      const int32_t first = groups[g].far_index[static_cast<int>(i % kLanes)];
      block.far_index[lane] = std::min<int32_t>(block.far_index[lane], first);
    }
    block.boxes.set(lane, all.low, all.high);
    block.distance[lane] = std::numeric_limits<float>::infinity();
  }
}

}  // namespace mae3d::fps
