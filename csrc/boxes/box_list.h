// CPU: many boxes, with a fast search for those whose surrounding circles meet a given one.
#pragma once

#include <algorithm>
#include <vector>

#include "../common/simd.h"
#include "box_geometry.h"

namespace mae3d::boxes {

// Bit j % 64 of near[j / 64]: circle j meets the circle (x, y, radius). count is a multiple of 64.
MAE3D_SIMD inline void circles_near(const double* xs, const double* ys, const double* radii, int64_t count, double x,
                                    double y, double radius, uint64_t* near) {
  for (int64_t first = 0; first < count; first += 64) {
    uint8_t flags[64];
#pragma omp simd
    for (int64_t l = 0; l < 64; ++l) {
      const double dx = xs[first + l] - x, dy = ys[first + l] - y, reach = radii[first + l] + radius;
      flags[l] = dx * dx + dy * dy <= reach * reach * (1 + 1e-9);
    }
    uint64_t word = 0;
    for (int64_t byte = 0; byte < 8; ++byte) {
      uint64_t eight;
      __builtin_memcpy(&eight, flags + 8 * byte, 8);  // one flag per byte -> one bit each
      word |= ((eight * 0x0102040810204080ull) >> 56) << (8 * byte);
    }
    near[first / 64] = word;
  }
}

struct BoxList {
  std::vector<Box> box;
  std::vector<double> x, y, radius;  // padded to 64; invalid boxes and padding are NaN, which meets nothing
  int64_t count = 0;

  void resize(int64_t n) {
    const int64_t padded = (n + 63) / 64 * 64;
    count = n;
    box.resize(n);
    x.assign(padded, NAN);
    y.assign(padded, NAN);
    radius.assign(padded, 0.0);
  }
  void set(int64_t i, const Box& value) {
    box[i] = value;
    if (value.valid) x[i] = value.x, y[i] = value.y, radius[i] = value.radius;
  }
  template <typename T> void load(const T* values, int64_t n) {
    resize(n);
    for (int64_t i = 0; i < n; ++i) set(i, load_box(values + i * kParameters));
  }

  // Calls f(j) in ascending order for every valid box j >= from whose circle meets that of `query`.
  template <typename F> void for_each_near(const Box& query, int64_t from, std::vector<uint64_t>& near, const F& f) const {
    const int64_t first = from / 64 * 64, words = (static_cast<int64_t>(x.size()) - first) / 64;
    if (words <= 0) return;
    near.resize(words);
    circles_near(x.data() + first, y.data() + first, radius.data() + first, words * 64, query.x, query.y, query.radius,
                 near.data());
    near[0] &= ~uint64_t{0} << (from - first);
    for (int64_t word = 0; word < words; ++word)
      for (uint64_t bits = near[word]; bits; bits &= bits - 1) f(first + 64 * word + __builtin_ctzll(bits));
  }
};

}  // namespace mae3d::boxes
