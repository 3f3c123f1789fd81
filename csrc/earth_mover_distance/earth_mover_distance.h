// Matching two point sets of equal mass at the least total distance, approximately and exactly.
//
// approximate_match(a, b, with_gradient) -> (cost, grad_a, grad_b)
//   a        float32 [B, N, 3]; b float32 [B, M, 3]; N, M >= 1, or both 0.
//   cost     float32 [B]: sum_kl match_kl |a_k - b_l| / max(N, M). NaN for a pair with a coordinate that is not finite
//            or beyond 1e18; 0 for empty sets.
//   grad_a   float32 [B, N, 3]: gradient of cost with the match held fixed; 0 at coinciding points and for a pair
//   grad_b   float32 [B, M, 3]  whose cost is NaN. Both [0] unless with_gradient.
//   The match: every a holds the mass max(N, M) / N, every b max(N, M) / M. Ten rounds with the level
//   -4^7, -4^6, ..., -4^-1, 0, K_kl = exp(level |a_k - b_l|^2):
//     ratio_a_k = left_a_k / (1e-9 + sum_l K_kl left_b_l)             each a offers what it has left
//     asked_l   = left_b_l sum_k K_kl ratio_a_k
//     ratio_b_l = left_b_l min(left_b_l / (asked_l + 1e-9), 1)        a b takes no more than it has left
//     match_kl += K_kl ratio_a_k ratio_b_l;  left_b_l = max(0, left_b_l - asked_l)
//     left_a_k  = max(0, left_a_k - sum_l K_kl ratio_a_k ratio_b_l)
//   The match is never stored. A sweep over one side finishes a round and begins the next: as levels fall by 4, the
//   kernel of the finished round is the fourth power of the next one's, so one exponential serves both.
//
// optimal_assignment(a, b) -> index
//   a, b     float64 [B, N, 3], N <= 16384.
//   index    int64 [B, N]: a permutation, a_i goes to b_index[i]; the sum of |a_i - b_index[i]| is least. -1 throughout
//            for a pair with a coordinate that is not finite or beyond 1e18. Memory: 8 N^2 bytes per thread.
#pragma once

#include "../common/checks.h"
#include "../common/tensor.h"

namespace mae3d::earth_mover {

constexpr int kRounds = 10;
constexpr double kLargestCoordinate = 1e18;  // squared distances stay finite in float32

inline float level_of(int round) {  // round 0 .. 9
  if (round == kRounds - 1) return 0.0f;
  float level = -16384.0f;
  for (int i = 0; i < round; ++i) level *= 0.25f;
  return level;
}

inline void check_sets(const Tensor& a, const Tensor& b, ScalarType dtype, const char* op) {
  check_dtype(a, dtype, op, "a");
  check_dtype(b, dtype, op, "b");
  check_dim(a, 3, op, "a");
  check_dim(b, 3, op, "b");
  check_size(a, 2, 3, op, "a");
  check_size(b, 2, 3, op, "b");
  check_size(b, 0, a.size(0), op, "b");
  check_same_device(a, b, op, "b");
}

inline void check_match_inputs(const Tensor& a, const Tensor& b) {
  const char* op = "approximate_match";
  check_sets(a, b, ScalarType::Float, op);
  MAE3D_CHECK((a.size(1) == 0) == (b.size(1) == 0), op, ": one of 'a' and 'b' is empty: there is no match, got ",
              a.size(1), " and ", b.size(1), " points");
}

}  // namespace mae3d::earth_mover
