// The inner loops, compiled for three instruction sets; the best that this CPU has is chosen once.
#pragma once

#include <cstring>

#include "../common/simd.h"
#include "brute_force.h"
#include "bucket_tree.h"

namespace mae3d::fps {

namespace baseline {
#include "kernels_body.h"
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(MAE3D_NO_MULTIVERSION)
#define MAE3D_FPS_VERSIONS 1
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace avx2 {
#include "kernels_body.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace avx512 {
#include "kernels_body.h"
}
#pragma GCC pop_options
#endif

struct Kernels {
  void (*brute_force)(const Request&, Arrays);
  void (*buckets)(const Request&, const BucketTree&);
};

inline Kernels choose_kernels() {
#ifdef MAE3D_FPS_VERSIONS
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (v4) return {avx512::run_brute_force, avx512::run_buckets};
  if (v3) return {avx2::run_brute_force, avx2::run_buckets};
#endif
  return {baseline::run_brute_force, baseline::run_buckets};
}

inline const Kernels& kernels() {
  static const Kernels chosen = choose_kernels();
  return chosen;
}

}  // namespace mae3d::fps
