// Threshold-first selection of the k smallest of a stream: candidates above the current limit are never stored, and
// the limit is lowered by counting, not by sorting. Only the k survivors are sorted.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "lanes.h"

namespace mae3d {

// Keys are non-negative int32: the bits of a squared distance (ordered as the floats are) or a point's index. Equal keys
// are ordered by rising id.
class Selector {
 public:
  static constexpr int kMaxK = 128, kStep = 32;  // kStep: candidates per call of add()
  static constexpr int32_t kNone = std::numeric_limits<int32_t>::max();

  MAE3D_INLINE void start(int wanted, int32_t highest) {
    k = wanted, limit = highest, count = 0, last_id = kNone, next_settle = k + 1;
  }

  // Adds the candidates that are not above the limit.
  MAE3D_INLINE void add(const IntLanes key[2], const int32_t* id) {
    uint32_t hits = bits(key[0] <= broadcast(limit)) | bits(key[1] <= broadcast(limit)) << 16;
    if (hits == 0) return;
    int32_t candidates[kStep];
    std::memcpy(candidates, key, sizeof candidates);
    int n = count;
    for (; hits; hits &= hits - 1, ++n) {
      const int i = __builtin_ctz(hits);
      keys[n] = candidates[i], ids[n] = id[i];
    }
    count = n;
    if (count >= next_settle) settle();
  }

  // Sorts the k best (or all, if fewer) to the front and returns how many there are.
  MAE3D_INLINE int finish() {
    if (count > k + kSlack) lower_limit();
    if (count > k + kSlack) reduce_exactly();
    sort();
    return std::min(count, k);
  }

  MAE3D_INLINE bool full() const { return count >= k; }
  // Set where ties abound: candidates at the limit with a higher id than last_id come too late.
  MAE3D_INLINE bool flooded() const { return last_id != kNone; }

  int32_t limit, last_id;  // limit: inclusive
  int32_t keys[640], ids[640];

 private:
  static constexpr int kCapacity = 640 - 2 * kStep, kSlack = 16;

  MAE3D_INLINE void settle() {
    lower_limit();
    if (count >= kCapacity) reduce_exactly();
    next_settle = std::min(count + k / 2 + 8, kCapacity);
  }

  // Finds a limit that keeps between k and k + kSlack candidates and drops the others; ties may leave more.
  MAE3D_INLINE void lower_limit() {
    int32_t low = -1, high = std::min(limit, largest_key());
    int below = 0, kept = count;  // candidates <= low, <= high
    for (int round = 0; kept > k + kSlack && high - low > 1 && round < 40; ++round) {
      const int32_t middle = between(low, high, static_cast<float>(k + kSlack / 2 - below) / (kept - below), round);
      const int hits = count_up_to(middle);
      if (hits >= k) {
        high = middle, kept = hits;
      } else {
        low = middle, below = hits;
      }
    }
    if (high < limit) limit = high, last_id = kNone;
    if (kept < count) drop_above(high);
  }

  // Squared distances on surfaces are spread evenly, so the share of the wanted count tells the place between two
  // distances; every third round halves the interval instead, which bounds the number of rounds.
  MAE3D_INLINE static int32_t between(int32_t low, int32_t high, float share, int round) {
    const int32_t half = low + (high - low) / 2;
    if (round % 3 == 2) return half;
    const float a = low < 0 ? 0.0f : std::bit_cast<float>(low), b = std::bit_cast<float>(high);
    const int32_t middle = std::bit_cast<int32_t>(a + (b - a) * share);
    return middle > low && middle < high ? middle : half;
  }

  MAE3D_INLINE int32_t largest_key() const {
    int32_t most = 0;
    for (int i = 0; i < count; ++i) most = std::max(most, keys[i]);
    return most;
  }

  MAE3D_INLINE int count_up_to(int32_t value) const {
    int hits = 0;
    for (int i = 0; i < count; ++i) hits += keys[i] <= value;
    return hits;
  }

  MAE3D_INLINE void drop_above(int32_t value) {
    int n = 0;
    for (int i = 0; i < count; ++i) {
      const int32_t key = keys[i], id = ids[i];
      keys[n] = key, ids[n] = id;
      n += key <= value;
    }
    count = n;
  }

  // Many equal keys: keeps exactly the k best by (key, id).
  __attribute__((noinline)) void reduce_exactly() {
    uint64_t all[640];
    for (int i = 0; i < count; ++i) all[i] = static_cast<uint64_t>(keys[i]) << 32 | static_cast<uint32_t>(ids[i]);
    std::nth_element(all, all + k - 1, all + count);
    count = k;
    for (int i = 0; i < k; ++i) keys[i] = static_cast<int32_t>(all[i] >> 32), ids[i] = static_cast<int32_t>(all[i]);
    limit = keys[k - 1], last_id = ids[k - 1];
  }

  // Ranks by counting smaller keys; only equal keys need a comparison sort.
  MAE3D_INLINE void sort() {
    constexpr int kMost = kMaxK + kSlack;
    const int n = count;
    int32_t rank[kMost], sorted_keys[kMost], sorted_ids[kMost];
    for (int i = 0; i < n; ++i) rank[i] = 0;
    for (int j = 0; j < n; ++j) {
      const int32_t key = keys[j];
      for (int i = 0; i < n; ++i) rank[i] += key < keys[i];
    }
    int total = 0;
    for (int i = 0; i < n; ++i) {
      total += rank[i];
      sorted_keys[rank[i]] = keys[i], sorted_ids[rank[i]] = ids[i];
    }
    if (total != n * (n - 1) / 2) return sort_ties();
    std::memcpy(keys, sorted_keys, n * sizeof(int32_t));
    std::memcpy(ids, sorted_ids, n * sizeof(int32_t));
  }

  __attribute__((noinline)) void sort_ties() {
    uint64_t all[kMaxK + kSlack];
    for (int i = 0; i < count; ++i) all[i] = static_cast<uint64_t>(keys[i]) << 32 | static_cast<uint32_t>(ids[i]);
    std::sort(all, all + count);
    for (int i = 0; i < count; ++i) keys[i] = static_cast<int32_t>(all[i] >> 32), ids[i] = static_cast<int32_t>(all[i]);
  }

  int k, count, next_settle;
};

}  // namespace mae3d
