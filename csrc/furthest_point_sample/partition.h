// Splits a cloud into leaves of nearby points: a kd-tree of which only the leaves are kept, in tree order.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "../common/parallel.h"
#include "lanes.h"

namespace mae3d::fps {

constexpr int kPivotSample = 15;

typedef float Quad __attribute__((vector_size(16), may_alias));

struct alignas(16) Item {
  float position[3];
  int32_t index;  // row of the cloud
};

struct Leaf {
  int64_t begin, end;
  float low[4], high[4];  // bounding box; the fourth entry has no meaning
};

class Partition {
 public:
  // `items` and `spare` hold the candidates, in ascending order of index, which stays so inside every leaf.
  Partition(Item* items, Item* spare, int64_t leaf_size) : items_(items), spare_(spare), leaf_size_(leaf_size) {}

  // Leaves of [0, count) in tree order, on all threads.
  std::vector<Leaf> run(int64_t count) const {
    std::vector<Leaf> roots;
    const int64_t threads = count >= kParallel ? num_threads() : 1;
    split(0, count, threads > 1 ? std::max(leaf_size_, count / (4 * threads)) : leaf_size_, roots);
    if (threads == 1) return roots;
    std::vector<std::vector<Leaf>> parts(roots.size());
    parallel_tasks(static_cast<int64_t>(roots.size()),
                   [&](int64_t i) { split(roots[i].begin, roots[i].end, leaf_size_, parts[i]); });
    std::vector<Leaf> leaves;
    for (const auto& part : parts) leaves.insert(leaves.end(), part.begin(), part.end());
    return leaves;
  }

 private:
  static constexpr int64_t kParallel = 16384;  // fewer points are split faster than threads wake up

  void split(int64_t begin, int64_t end, int64_t size, std::vector<Leaf>& leaves) const {
    if (begin == end) return;
    const Leaf leaf = bounds(begin, end);
    int axis = 0;
    for (int a = 1; a < 3; ++a)
      if (leaf.high[a] - leaf.low[a] > leaf.high[axis] - leaf.low[axis]) axis = a;
    if (end - begin <= size || !(leaf.low[axis] < leaf.high[axis])) return leaves.push_back(leaf);
    const int64_t middle = divide(begin, end, axis, pivot(leaf, axis));
    split(begin, middle, size, leaves);
    split(middle, end, size, leaves);
  }

  Leaf bounds(int64_t begin, int64_t end) const {
    Quad low = *reinterpret_cast<const Quad*>(items_ + begin), high = low;
    for (int64_t i = begin + 1; i < end; ++i) {
      const Quad p = *reinterpret_cast<const Quad*>(items_ + i);
      low = p < low ? p : low;
      high = p > high ? p : high;
    }
    Leaf leaf{begin, end, {}, {}};
    std::memcpy(leaf.low, &low, sizeof low);
    std::memcpy(leaf.high, &high, sizeof high);
    return leaf;
  }

  // Median of a few points, but below the upper bound, so that both sides of the split get points.
  float pivot(const Leaf& leaf, int axis) const {
    float sample[kPivotSample];
    const int64_t size = leaf.end - leaf.begin;
    for (int64_t i = 0; i < kPivotSample; ++i)
      sample[i] = items_[leaf.begin + (2 * i + 1) * size / (2 * kPivotSample)].position[axis];
    std::nth_element(sample, sample + kPivotSample / 2, sample + kPivotSample);
    const float low = leaf.low[axis], high = leaf.high[axis], median = sample[kPivotSample / 2];
    if (median < high) return median;
    const float middle = 0.5f * low + 0.5f * high;
    return middle >= low && middle < high ? middle : low;
  }

  // Stable: items with position <= value first. Returns where the others begin.
  int64_t divide(int64_t begin, int64_t end, int axis, float value) const {
    int64_t left = begin, right = 0;
    Item* others = spare_ + begin;
    for (int64_t i = begin; i < end; ++i) {
      const Quad item = *reinterpret_cast<const Quad*>(items_ + i);
      const int64_t goes_left = items_[i].position[axis] <= value;
      *reinterpret_cast<Quad*>(items_ + left) = item;
      *reinterpret_cast<Quad*>(others + right) = item;
      left += goes_left;
      right += 1 - goes_left;
    }
    std::memcpy(items_ + left, others, static_cast<size_t>(right) * sizeof(Item));
    return left;
  }

  Item* items_;
  Item* spare_;
  int64_t leaf_size_;
};

}  // namespace mae3d::fps
