// Threshold-first selection of the k smallest of a stream: candidates above the current limit are never stored, and
// the limit is lowered by counting, not by sorting. Only the k survivors are sorted.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "simd.h"

namespace mae3d {

// Key: float (squared distance >= 0) or int32_t (index >= 0). Equal keys are ordered by rising id.
template <typename Key> class Selector {
 public:
  static constexpr int kMaxK = 128, kStep = 32;  // kStep: candidates that may be added between two calls of settle()

  MAE3D_INLINE void start(int k_, Key limit_) { k = k_, limit = limit_, count = 0, last_id = kNoId; }

  // Adds the candidates of one block that are not above the limit. NaN keys never are.
  MAE3D_INLINE void add(const Key* key, const int32_t* id) {
    int hits = 0;
    for (int i = 0; i < kStep; ++i) hits += key[i] <= limit;
    if (hits == 0) return;
    int n = count;
    for (int i = 0; i < kStep; ++i) {
      keys[n] = key[i], ids[n] = id[i];
      n += key[i] <= limit;
    }
    count = n;
    if (count >= trigger()) settle();
  }

  // Sorts the k best (or all, if fewer) to the front and returns how many there are.
  MAE3D_INLINE int finish() {
    if (count > k) lower_limit(k + kSlack);
    if (count > k + kSlack) reduce_exactly();
    sort();
    return std::min(count, k);
  }

  // Whether a region can be skipped: none of its points is below `bound`, nor has an index below `first_id`.
  MAE3D_INLINE bool beyond(Key bound, int32_t first_id) const {
    return bound > limit || (bound == limit && first_id > last_id);
  }
  MAE3D_INLINE bool flooded() const { return last_id != kNoId; }
  MAE3D_INLINE bool full() const { return count >= k; }

  Key limit;  // inclusive
  int32_t ids[640];
  Key keys[640];

 private:
  static constexpr int kCapacity = 640 - kStep, kSlack = 16;
  static constexpr int32_t kNoId = std::numeric_limits<int32_t>::max();

  MAE3D_INLINE int trigger() const { return 2 * k + kStep; }

  MAE3D_INLINE void settle() {
    if (count <= k) return;
    lower_limit(k + kSlack);
    if (count > kCapacity - kStep) reduce_exactly();
  }

  MAE3D_INLINE int count_up_to(Key value) const {
    int hits = 0;
    for (int i = 0; i < count; ++i) hits += keys[i] <= value;
    return hits;
  }

  // Finds a limit that keeps between k and `most` candidates and drops the others; ties may leave more than `most`.
  MAE3D_INLINE void lower_limit(int most) {
    Key low = keys[0], high = keys[0];
    for (int i = 0; i < count; ++i) low = std::min(low, keys[i]), high = std::max(high, keys[i]);
    int below = 0, kept = count;  // candidates <= low (or fewer), <= high
    for (int round = 0; kept > most && low < high && round < 48; ++round) {
      // Squared distances on surfaces are spread evenly, so interpolation is near at once; halving bounds the worst.
      const float share = round % 3 == 2 ? 0.5f : (k + 0.5f * (most - k) - below) / static_cast<float>(kept - below);
      Key middle = low + static_cast<Key>((high - low) * share);
      if (!(middle > low && middle < high)) middle = low + (high - low) / 2;
      if (!(middle < high)) middle = low;
      const int hits = count_up_to(middle);
      if (hits >= k) {
        high = middle, kept = hits;
      } else if (middle > low) {
        low = middle, below = hits;
      } else {
        break;
      }
    }
    if (high < limit) limit = high, last_id = kNoId;
    int n = 0;
    for (int i = 0; i < count; ++i) {
      const Key key = keys[i];
      const int32_t id = ids[i];
      keys[n] = key, ids[n] = id;
      n += key <= high;
    }
    count = n;
  }

  static uint64_t pack(Key key, int32_t id) {
    uint32_t bits;
    std::memcpy(&bits, &key, 4);  // non-negative floats are ordered as their bits are
    return static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(id);
  }

  // Many equal keys: keeps exactly the k best by (key, id).
  __attribute__((noinline)) void reduce_exactly() {
    uint64_t all[640];
    for (int i = 0; i < count; ++i) all[i] = pack(keys[i], ids[i]);
    std::nth_element(all, all + k - 1, all + count);
    count = k;
    for (int i = 0; i < k; ++i) {
      const uint32_t bits = static_cast<uint32_t>(all[i] >> 32);
      std::memcpy(&keys[i], &bits, 4);
      ids[i] = static_cast<int32_t>(all[i]);
    }
    limit = keys[k - 1], last_id = ids[k - 1];
  }

  // Ranks by counting, then repairs the order of equal keys.
  MAE3D_INLINE void sort() {
    int32_t rank[kMaxK + kSlack + 16];
    const int n = count;
    for (int i = 0; i < n; ++i) rank[i] = 0;
    for (int j = 0; j < n; ++j) {
      const Key key = keys[j];
      for (int i = 0; i < j; ++i) rank[i] += key < keys[i];
      for (int i = j + 1; i < n; ++i) rank[i] += key <= keys[i];
    }
    Key sorted_keys[kMaxK + kSlack];
    int32_t sorted_ids[kMaxK + kSlack];
    for (int i = 0; i < n; ++i) sorted_keys[rank[i]] = keys[i], sorted_ids[rank[i]] = ids[i];
    for (int i = 0; i < n; ++i) {
      const Key key = sorted_keys[i];
      const int32_t id = sorted_ids[i];
      int at = i;
      for (; at > 0 && keys[at - 1] == key && ids[at - 1] > id; --at) keys[at] = keys[at - 1], ids[at] = ids[at - 1];
      keys[at] = key, ids[at] = id;
    }
  }

  int k, count;
  int32_t last_id;  // with the limit: candidates of that key and a higher id are out; set only where ties abound
};

}  // namespace mae3d
