// Exact sampling by touching every point for every sample: fused minimum update and block-wise arg-max over a
// structure of arrays. The fastest form for small clouds and for few samples.
#pragma once

#include "furthest_point_sample.h"
#include "lanes.h"
#include <limits>

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

}  // namespace mae3d::fps
