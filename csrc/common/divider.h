// Division of many non-negative integers by one that is known only at run time.
#pragma once

#include <cstdint>

#include "simd.h"

namespace mae3d {

constexpr int64_t kDividerLimit = int64_t{1} << 52;

// Quotient and remainder of 0 <= a < 2^52 by a reciprocal in double, corrected by at most one; vectorises.
struct Divider {
  int64_t divisor;
  double reciprocal;
  explicit Divider(int64_t d) : divisor(d), reciprocal(1.0 / static_cast<double>(d)) {}
  MAE3D_INLINE int64_t split(int64_t a, int64_t& remainder) const {
    const int64_t guess = static_cast<int64_t>(static_cast<double>(a) * reciprocal), rest = a - guess * divisor;
    const int64_t below = rest < 0, above = rest >= divisor;
    remainder = rest + (below - above) * divisor;
    return guess - below + above;
  }
};

}  // namespace mae3d
