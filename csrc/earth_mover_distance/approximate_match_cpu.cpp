#include <algorithm>
#include <cmath>

#include "../common/geometry.h"
#include "../common/parallel.h"
#include "../common/simd.h"
#include "earth_mover_distance.h"

namespace mae3d {
namespace {

using earth_mover::kRounds;
using earth_mover::level_of;

constexpr int64_t kLanes = 16;

// e^x for x <= 0, 2 units in the last place, 0 below the smallest normal number. Plain arithmetic, so that it becomes
// vector code with the same bits everywhere.
MAE3D_INLINE float exp_negative(float x) {
  const float bounded = x > -87.0f ? x : -87.0f;
  const float shifted = bounded * 1.44269504f + 12582912.0f;  // rounds to the nearest integer in the low bits
  const float n = shifted - 12582912.0f;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = __builtin_bit_cast(int32_t, shifted) - __builtin_bit_cast(int32_t, 12582912.0f);
  const float scaled = __builtin_bit_cast(float, __builtin_bit_cast(int32_t, p) + exponent * (1 << 23));
  return x > -87.0f ? scaled : 0.0f;
}

// One of the two point sets, structure of arrays padded to whole vectors; padding has no mass.
struct Side {
  std::vector<float> x, y, z;
  std::vector<float> left;          // mass not yet matched
  std::vector<float> ratio, spare;  // of the round being finished; of the round being begun
  std::vector<float> start, mass, cost, grad[3];
  int64_t count = 0;

  void load(const float* points, int64_t n, float own_mass) {
    const int64_t size = (n + kLanes - 1) / kLanes * kLanes;
    count = n;
    for (auto* array : {&x, &y, &z, &left, &ratio, &spare, &start, &mass, &cost, &grad[0], &grad[1], &grad[2]})
      array->assign(size, 0.0f);
    for (int64_t i = 0; i < n; ++i)
      x[i] = points[3 * i], y[i] = points[3 * i + 1], z[i] = points[3 * i + 2], left[i] = own_mass;
  }
};

struct Levels {
  bool begin, finish;  // a round is begun; one is finished
  bool fourth;         // K of the begun round is k, of the finished round k^4; else 1 and k
  float exponent;      // k = exp(exponent |a - b|^2)
};

Levels levels_of(int finished) {  // finishes round `finished` (-1: none), begins the one after it (if there is one)
  const bool begin = finished + 1 < kRounds, finish = finished >= 0;
  const float next = begin ? level_of(finished + 1) : 0.0f;
  const bool fourth = next != 0.0f;
  return {begin, finish, fourth, fourth ? next : level_of(finished)};
}

// For every own point: start = sum K_begun begun[o]; and of the finished round's match the mass, cost and gradient.
template <bool kFinish, bool kFourth, bool kGradient>
MAE3D_INLINE void sweep_body(Side& own, const Side& other, const float* begun, float exponent) {
  const float *ox = other.x.data(), *oy = other.y.data(), *oz = other.z.data(), *finished = other.ratio.data();
  for (int64_t first = 0; first < own.count; first += kLanes) {
    float x[kLanes], y[kLanes], z[kLanes], start[kLanes], mass[kLanes], cost[kLanes];
    float gx[kLanes], gy[kLanes], gz[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) {
      x[l] = own.x[first + l], y[l] = own.y[first + l], z[l] = own.z[first + l];
      start[l] = mass[l] = cost[l] = gx[l] = gy[l] = gz[l] = 0.0f;
    }
    for (int64_t o = 0; o < other.count; ++o) {
      const float px = ox[o], py = oy[o], pz = oz[o], share = begun[o], taken = finished[o];
#pragma omp simd
      for (int64_t l = 0; l < kLanes; ++l) {
        const float dx = x[l] - px, dy = y[l] - py, dz = z[l] - pz;
        const float d2 = (dx * dx + dy * dy) + dz * dz;
        const float k = exp_negative(exponent * d2);
        start[l] += kFourth ? k * share : share;
        if (kFinish) {
          const float w = (kFourth ? (k * k) * (k * k) : k) * taken;
          const float distance = std::sqrt(d2);
          mass[l] += w;
          cost[l] += w * distance;
          if (kGradient) {
            const float pull = d2 > 0.0f ? w / distance : 0.0f;
            gx[l] += pull * dx, gy[l] += pull * dy, gz[l] += pull * dz;
          }
        }
      }
    }
    for (int64_t l = 0; l < kLanes; ++l) {
      const float ratio = own.ratio[first + l];
      own.start[first + l] = start[l];
      own.mass[first + l] = mass[l] * ratio;
      own.cost[first + l] += cost[l] * ratio;
      own.grad[0][first + l] += gx[l] * ratio;
      own.grad[1][first + l] += gy[l] * ratio;
      own.grad[2][first + l] += gz[l] * ratio;
    }
  }
}

MAE3D_SIMD void sweep_begin(Side& own, const Side& other, const float* begun, float exponent) {
  sweep_body<false, true, false>(own, other, begun, exponent);
}
MAE3D_SIMD void sweep_cost(Side& own, const Side& other, const float* begun, float exponent) {
  sweep_body<true, true, false>(own, other, begun, exponent);
}
MAE3D_SIMD void sweep_gradient(Side& own, const Side& other, const float* begun, float exponent) {
  sweep_body<true, true, true>(own, other, begun, exponent);
}
MAE3D_SIMD void flat_cost(Side& own, const Side& other, const float* begun, float exponent) {
  sweep_body<true, false, false>(own, other, begun, exponent);
}
MAE3D_SIMD void flat_gradient(Side& own, const Side& other, const float* begun, float exponent) {
  sweep_body<true, false, true>(own, other, begun, exponent);
}

void sweep(Side& own, const Side& other, const float* begun, const Levels& levels, bool gradient) {
  if (!levels.finish) return sweep_begin(own, other, begun, levels.exponent);
  if (levels.fourth) return (gradient ? sweep_gradient : sweep_cost)(own, other, begun, levels.exponent);
  (gradient ? flat_gradient : flat_cost)(own, other, begun, levels.exponent);
}

void sweep_a(Side& a, const Side& b, const Levels& levels, bool gradient) {
  sweep(a, b, b.left.data(), levels, gradient);
  for (int64_t k = 0; k < a.count; ++k) {
    if (levels.finish) a.left[k] = std::max(0.0f, a.left[k] - a.mass[k]);
    a.spare[k] = a.left[k] / (1e-9f + a.start[k]);
  }
}

void sweep_b(Side& b, const Side& a, const Levels& levels, bool gradient) {
  Levels wanted = levels;
  if (!gradient && levels.fourth) wanted.finish = false;  // only the gradient needs the finished match from this side
  if (levels.begin || gradient) sweep(b, a, a.spare.data(), wanted, gradient);
  for (int64_t l = 0; levels.begin && l < b.count; ++l) {
    const float asked = b.start[l] * b.left[l];
    b.ratio[l] = std::min(b.left[l] / (asked + 1e-9f), 1.0f) * b.left[l];
    b.left[l] = std::max(0.0f, b.left[l] - asked);
  }
}

bool in_range(const float* points, int64_t values) {
  bool good = true;
  for (int64_t i = 0; i < values; ++i) good &= std::abs(points[i]) <= earth_mover::kLargestCoordinate;
  return good;
}

struct Pair {
  Side a, b;
};

double match(const float* a, int64_t n, const float* b, int64_t m, bool gradient, Pair& pair) {
  const float most = static_cast<float>(std::max(n, m));
  pair.a.load(a, n, most / static_cast<float>(n));
  pair.b.load(b, m, most / static_cast<float>(m));
  for (int finished = -1; finished < kRounds; ++finished) {
    const Levels levels = levels_of(finished);
    sweep_a(pair.a, pair.b, levels, gradient);
    sweep_b(pair.b, pair.a, levels, gradient);
    pair.a.ratio.swap(pair.a.spare);
  }
  double cost = 0;
  for (int64_t k = 0; k < n; ++k) cost += pair.a.cost[k];
  return cost / most;
}

void store_gradient(const Side& side, float scale, float* out) {
  for (int64_t i = 0; i < side.count; ++i)
    for (int k = 0; k < 3; ++k) out[3 * i + k] = side.grad[k][i] * scale;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> approximate_match_cpu(const Tensor a, const Tensor b, bool with_gradient) {
  earth_mover::check_match_inputs(a, b);
  const Tensor ca = as_contiguous(a), cb = as_contiguous(b);
  const int64_t batch = a.size(0), n = a.size(1), m = b.size(1);
  Tensor cost = make_zeros(a, {batch}, ScalarType::Float);
  Tensor grad_a = with_gradient ? make_zeros(a, {batch, n, 3}, ScalarType::Float) : make_empty(a, {0}, ScalarType::Float);
  Tensor grad_b = with_gradient ? make_zeros(a, {batch, m, 3}, ScalarType::Float) : make_empty(a, {0}, ScalarType::Float);
  if (n == 0) return {cost, grad_a, grad_b};
  const float *pa = cdata<float>(ca), *pb = cdata<float>(cb);
  float *costs = mdata<float>(cost), *ga = mdata<float>(grad_a), *gb = mdata<float>(grad_b);
  const int64_t grain = std::max<int64_t>(1, 1024 / (n * m));
  parallel_tasks((batch + grain - 1) / grain, [&](int64_t task) {
    Pair pair;
    for (int64_t i = task * grain; i < std::min(batch, (task + 1) * grain); ++i) {
      const float *points_a = pa + 3 * n * i, *points_b = pb + 3 * m * i;
      if (!in_range(points_a, 3 * n) || !in_range(points_b, 3 * m)) {
        costs[i] = std::nanf("");
        continue;
      }
      costs[i] = static_cast<float>(match(points_a, n, points_b, m, with_gradient, pair));
      if (!with_gradient) continue;
      const float scale = 1.0f / static_cast<float>(std::max(n, m));
      store_gradient(pair.a, scale, ga + 3 * n * i);
      store_gradient(pair.b, scale, gb + 3 * m * i);
    }
  });
  return {cost, grad_a, grad_b};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) { m.impl("approximate_match", TORCH_BOX(&approximate_match_cpu)); }

}  // namespace mae3d
