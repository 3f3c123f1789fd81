// Stable least-significant-digit radix sort of (key, row) pairs on the CPU, parallel over chunks of the input.
#pragma once

#include <algorithm>
#include <bit>
#include <memory>
#include <vector>

#include "parallel.h"

namespace mae3d {

// An array without initial values: large scratch that is written before it is read.
template <typename T> using Buffer = std::unique_ptr<T[]>;
template <typename T> Buffer<T> make_buffer(int64_t n) {
  return Buffer<T>(new T[static_cast<size_t>(n < 1 ? 1 : n)]);
}

struct KeyedRow {
  uint64_t key;
  int64_t row;
};

// Sorts items[0, n) by key_of(item), ties in the order of the input; keys must be < 2^key_bits. `spare` is a second
// array of n items; the result is in the array that is returned (items or spare).
template <typename Item, typename KeyOf>
Item* radix_sort(Item* items, Item* spare, int64_t n, int key_bits, const KeyOf& key_of) {
  constexpr int kMaxDigit = 11;
  const int passes = std::max(1, (key_bits + kMaxDigit - 1) / kMaxDigit);
  const int digit = std::max(1, (key_bits + passes - 1) / passes);
  const int64_t bins = int64_t{1} << digit;
  const int64_t chunks = std::clamp<int64_t>(n / 16384, 1, num_threads());
  const auto bound = [&](int64_t c) { return n * c / chunks; };
  std::vector<int64_t> position(static_cast<size_t>(chunks * bins));
  for (int pass = 0; pass < passes; ++pass) {
    const int shift = pass * digit;
    const auto bin_of = [&](const Item& item) { return (key_of(item) >> shift) & static_cast<uint64_t>(bins - 1); };
    std::fill(position.begin(), position.end(), 0);
    parallel_tasks(chunks, [&](int64_t c) {
      int64_t* count = &position[static_cast<size_t>(c * bins)];
      for (int64_t i = bound(c); i < bound(c + 1); ++i) ++count[bin_of(items[i])];
    });
    int64_t total = 0;
    for (int64_t b = 0; b < bins; ++b)
      for (int64_t c = 0; c < chunks; ++c) {
        int64_t& slot = position[static_cast<size_t>(c * bins + b)];
        const int64_t count = slot;
        slot = total;
        total += count;
      }
    parallel_tasks(chunks, [&](int64_t c) {
      int64_t* next = &position[static_cast<size_t>(c * bins)];
      for (int64_t i = bound(c); i < bound(c + 1); ++i) spare[next[bin_of(items[i])]++] = items[i];
    });
    std::swap(items, spare);
  }
  return items;
}

inline KeyedRow* radix_sort(KeyedRow* items, KeyedRow* spare, int64_t n, int key_bits) {
  return radix_sort(items, spare, n, key_bits, [](const KeyedRow& item) { return item.key; });
}

}  // namespace mae3d
