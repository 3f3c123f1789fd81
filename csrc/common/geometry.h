// Point arithmetic with one fixed rounding order on every device: no fused multiply-add, so that CPU, CUDA and
// the float32 reference give the same bits, hence the same ties.
#pragma once

#ifdef __CUDACC__
#define MAE3D_HD __host__ __device__ __forceinline__
#else
#define MAE3D_HD inline __attribute__((always_inline))
#endif

namespace mae3d {

MAE3D_HD float squared_distance(float ax, float ay, float az, float bx, float by, float bz) {
#ifdef __CUDA_ARCH__
  const float dx = __fsub_rn(ax, bx), dy = __fsub_rn(ay, by), dz = __fsub_rn(az, bz);
  return __fadd_rn(__fadd_rn(__fmul_rn(dx, dx), __fmul_rn(dy, dy)), __fmul_rn(dz, dz));
#else
  const float dx = ax - bx, dy = ay - by, dz = az - bz;
  return (dx * dx + dy * dy) + dz * dz;  // compiled with -ffp-contract=off
#endif
}

MAE3D_HD double squared_distance(double ax, double ay, double az, double bx, double by, double bz) {
#ifdef __CUDA_ARCH__
  const double dx = __dsub_rn(ax, bx), dy = __dsub_rn(ay, by), dz = __dsub_rn(az, bz);
  return __dadd_rn(__dadd_rn(__dmul_rn(dx, dx), __dmul_rn(dy, dy)), __dmul_rn(dz, dz));
#else
  const double dx = ax - bx, dy = ay - by, dz = az - bz;
  return (dx * dx + dy * dy) + dz * dz;
#endif
}

}  // namespace mae3d
