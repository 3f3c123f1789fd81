// Division of many non-negative integers by one that is known only at run time.
#pragma once

#include <cstdint>

#include "simd.h"

namespace mae3d {

// Quotient and remainder of 0 <= a <= largest: by a reciprocal where a double holds `largest`, corrected by at most
// one, else by the machine's integer division.
struct Divider {
  int64_t divisor;
  double reciprocal;
  bool integer;
  Divider(int64_t d, int64_t largest)
      : divisor(d), reciprocal(1.0 / static_cast<double>(d)), integer(largest >= (int64_t{1} << 52)) {}
  MAE3D_INLINE int64_t split(int64_t a, int64_t& remainder) const {
    int64_t q = integer ? a / divisor : static_cast<int64_t>(static_cast<double>(a) * reciprocal);
    int64_t r = a - q * divisor;
    if (r < 0) --q, r += divisor;
    if (r >= divisor) ++q, r -= divisor;
    remainder = r;
    return q;
  }
};

}  // namespace mae3d
