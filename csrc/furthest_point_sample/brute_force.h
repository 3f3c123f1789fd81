// Exact sampling by touching every point for every sample: fused minimum update and block-wise arg-max over a
// structure of arrays. The fastest form for small clouds and for few samples.
#pragma once

#include "furthest_point_sample.h"
#include "lanes.h"
#include "request.h"

namespace mae3d::fps {

constexpr int64_t kBlock = 16 * kLanes;  // points between two looks at the running maximum

struct Row {  // sixteen values of one array
  Lanes values;
};

// x, y, z and the distance to the picks so far, each `padded` floats; what is no candidate keeps distance -1.
struct Arrays {
  float *x, *y, *z, *distance;
  int64_t padded;
};

inline Arrays load(const Request& r, Buffer<Row>& memory) {
  const int64_t padded = (r.count + kBlock - 1) / kBlock * kBlock;
  float* base = reinterpret_cast<float*>(memory.reserve(padded / kLanes * 4));
  const Arrays a{base, base + padded, base + 2 * padded, base + 3 * padded, padded};
  for (int64_t i = 0; i < r.count; ++i) {
    const float x = r.points[3 * i], y = r.points[3 * i + 1], z = r.points[3 * i + 2];
    a.x[i] = x, a.y[i] = y, a.z[i] = z;
    a.distance[i] = is_candidate(x, y, z, r.skip) ? std::numeric_limits<float>::infinity() : -1.0f;
  }
  for (int64_t i = r.count; i < padded; ++i) a.x[i] = a.y[i] = a.z[i] = 0.0f, a.distance[i] = -1.0f;
  return a;
}

// Lowers every distance by the point (px, py, pz); returns the index of the largest, -1 where no candidate is.
MAE3D_INLINE int64_t update(const Arrays a, float px, float py, float pz) {
  const Lanes x = broadcast(px), y = broadcast(py), z = broadcast(pz);
  Lanes best = broadcast(-1.0f);
  IntLanes best_block = broadcast(0);
  for (int64_t begin = 0; begin < a.padded; begin += kBlock) {
    Lanes top = broadcast(-1.0f);
    for (int64_t i = begin; i < begin + kBlock; i += kLanes) {
      Lanes& distance = *reinterpret_cast<Lanes*>(a.distance + i);
      const Lanes d = squared_length(*reinterpret_cast<Lanes*>(a.x + i) - x, *reinterpret_cast<Lanes*>(a.y + i) - y,
                                     *reinterpret_cast<Lanes*>(a.z + i) - z);
      const Lanes lower = minimum(d, distance);
      distance = lower;
      top = maximum(lower, top);
    }
    const IntLanes better = top > best;
    best = better ? top : best;
    best_block = better ? broadcast(static_cast<int32_t>(begin / kBlock)) : best_block;
  }
  const float value = largest(best);
  if (value < 0.0f) return -1;
  int64_t i = smallest_key(best_block, bits(best == broadcast(value))) * kBlock;
  for (;; i += kLanes) {
    const uint32_t equal = bits(*reinterpret_cast<Lanes*>(a.distance + i) == broadcast(value));
    if (equal) return i + __builtin_ctz(equal);
  }
}

MAE3D_SIMD static void run_brute_force(const Request& r, const Arrays a) {
  int64_t current = r.start;
  for (int64_t s = 0; s < r.samples; ++s) {
    r.out[s] = r.base + current;
    if (s + 1 == r.samples) return;
    const float* p = r.points + 3 * current;
    const int64_t next = update(a, p[0], p[1], p[2]);
    current = next < 0 ? r.start : next;
  }
}

inline void sample_by_brute_force(const Request& r, Buffer<Row>& memory) {
  run_brute_force(r, load(r, memory));
}

}  // namespace mae3d::fps
