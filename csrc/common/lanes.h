// Sixteen floats as one value (GCC/Clang vector extension): one AVX-512 register, two of AVX2, four of SSE.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace mae3d {

constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(64), may_alias));
typedef int32_t IntLanes __attribute__((vector_size(64), may_alias));

// As a difference, which GCC turns into one broadcast; a list of elements becomes one insertion for each lane.
MAE3D_INLINE Lanes broadcast(float v) { return v - Lanes{}; }
MAE3D_INLINE IntLanes broadcast(int32_t v) { return v - IntLanes{}; }

MAE3D_INLINE Lanes load(const float* from) {
  Lanes v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
MAE3D_INLINE IntLanes load(const int32_t* from) {
  IntLanes v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

MAE3D_INLINE Lanes minimum(Lanes a, Lanes b) { return a < b ? a : b; }  // b where a is NaN
MAE3D_INLINE Lanes maximum(Lanes a, Lanes b) { return a > b ? a : b; }

// The rounding order of mae3d::squared_distance.
MAE3D_INLINE Lanes squared_length(Lanes dx, Lanes dy, Lanes dz) { return (dx * dx + dy * dy) + dz * dz; }

// Bit i is set where lane i of a comparison is true.
MAE3D_INLINE uint32_t bits(IntLanes mask) {
  typedef int8_t Bytes __attribute__((vector_size(16)));
  const Bytes bytes = __builtin_convertvector(mask, Bytes);
  uint64_t half[2];
  std::memcpy(half, &bytes, sizeof half);
  constexpr uint64_t ones = 0x0101010101010101, gather = 0x0102040810204080;
  return static_cast<uint32_t>(((half[0] & ones) * gather >> 56) | (((half[1] & ones) * gather >> 56) << 8));
}

MAE3D_INLINE int32_t smallest(IntLanes v) {
  IntLanes other = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  v = v < other ? v : other;
  other = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
  v = v < other ? v : other;
  other = __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  v = v < other ? v : other;
  other = __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  v = v < other ? v : other;
  return v[0];
}

}  // namespace mae3d
