// Sixteen floats as one value (GCC/Clang vector extension): one AVX-512 register, two of AVX2, four of SSE.
#pragma once

#include <cstdint>

namespace mae3d::fps {

constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(64), may_alias));
typedef int32_t IntLanes __attribute__((vector_size(64), may_alias));

}  // namespace mae3d::fps
