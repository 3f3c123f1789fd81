// One source, several instruction sets: a function marked MAE3D_SIMD is compiled for AVX-512, AVX2 and the
// baseline, and the fastest that this CPU has is chosen when the library is loaded. Helpers called from it
// must be MAE3D_INLINE, so that they are compiled for the caller's instruction set.
#pragma once

#define MAE3D_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MAE3D_NO_MULTIVERSION)
#define MAE3D_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MAE3D_SIMD
#endif
