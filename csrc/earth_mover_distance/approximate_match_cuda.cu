#include <cfloat>
#include <utility>

#include "../common/cuda.cuh"
#include "earth_mover_distance.h"

namespace mae3d {
namespace {

using earth_mover::kRounds;
using earth_mover::level_of;

constexpr int kThreads = 128;

// State of one side of every pair, all [B, count] on the device.
struct Side {
  const float* points;
  float *left, *ratio, *spare, *cost, *grad;  // grad [B, count, 3] or null
  int64_t count;
};

struct Levels {
  bool finish, begin, fourth;
  float exponent;
};

Levels levels_of(int finished) {  // as on the CPU
  const bool begin = finished + 1 < kRounds, finish = finished >= 0;
  const float next = begin ? level_of(finished + 1) : 0.0f;
  const bool fourth = next != 0.0f;
  return {finish, begin, fourth, fourth ? next : level_of(finished)};
}

__global__ void initialise(Side side, int64_t batch, float own_mass) {
  MAE3D_GRID_STRIDE(i, batch * side.count) {
    side.left[i] = own_mass;
    side.ratio[i] = side.spare[i] = 0.0f;
    if (side.cost) side.cost[i] = 0.0f;
    for (int k = 0; side.grad && k < 3; ++k) side.grad[3 * i + k] = 0.0f;
  }
}

struct Sums {
  float start = 0, mass = 0, cost = 0, x = 0, y = 0, z = 0;
};

// One own point against all others of its pair, others by shared tiles in ascending order. `begun` is what the others
// hold for the round being begun, others.ratio what they held in the round being finished.
template <bool kFinish, bool kFourth, bool kGradient>
__device__ Sums sweep(float x, float y, float z, const Side& others, const float* begun, int64_t first,
                      float exponent) {
  __shared__ float tile[5][kThreads];
  Sums sums;
  for (int64_t begin = 0; begin < others.count; begin += kThreads) {
    const int64_t o = begin + threadIdx.x;
    if (o < others.count) {
      const float* p = others.points + 3 * (first + o);
      tile[0][threadIdx.x] = p[0], tile[1][threadIdx.x] = p[1], tile[2][threadIdx.x] = p[2];
      tile[3][threadIdx.x] = begun[first + o];
      if (kFinish) tile[4][threadIdx.x] = others.ratio[first + o];
    }
    __syncthreads();
    const int size = static_cast<int>(min(static_cast<int64_t>(kThreads), others.count - begin));
    for (int j = 0; j < size; ++j) {
      const float dx = x - tile[0][j], dy = y - tile[1][j], dz = z - tile[2][j];
      const float d2 = dx * dx + dy * dy + dz * dz;
      const float k = __expf(exponent * d2);
      sums.start += kFourth ? k * tile[3][j] : tile[3][j];
      if (!kFinish) continue;
      const float w = (kFourth ? (k * k) * (k * k) : k) * tile[4][j];
      const float distance = sqrtf(d2);
      sums.mass += w;
      sums.cost += w * distance;
      if (!kGradient) continue;
      const float pull = d2 > 0.0f ? w / distance : 0.0f;
      sums.x += pull * dx, sums.y += pull * dy, sums.z += pull * dz;
    }
    __syncthreads();
  }
  return sums;
}

// Finishes a round for one side and begins the next. Side a (kIsA) updates what it has left by the finished match and
// makes new ratios in `spare`; side b makes its ratios and takes off what was asked. Every thread writes its own point
// only, and reads of the other side only what this launch does not write.
template <bool kIsA, bool kFinish, bool kFourth, bool kGradient>
__global__ void round_kernel(Side own, Side others, const float* begun, int64_t batch, bool begin, float exponent) {
  const int64_t tiles = ceil_div<int64_t>(own.count, kThreads);
  for (int64_t block = blockIdx.x; block < batch * tiles; block += gridDim.x) {
    const int64_t pair = block / tiles, point = block % tiles * kThreads + threadIdx.x;
    const bool active = point < own.count;
    const int64_t i = pair * own.count + point;
    const float x = active ? own.points[3 * i] : 0, y = active ? own.points[3 * i + 1] : 0,
                z = active ? own.points[3 * i + 2] : 0;
    const Sums sums =
        sweep<kFinish, kFourth, kGradient>(x, y, z, others, begun, pair * others.count, exponent);
    if (!active) continue;
    const float ratio = own.ratio[i];
    if (kFinish && own.cost) own.cost[i] += sums.cost * ratio;
    if (kFinish && kGradient) {
      own.grad[3 * i] += sums.x * ratio;
      own.grad[3 * i + 1] += sums.y * ratio;
      own.grad[3 * i + 2] += sums.z * ratio;
    }
    if (kIsA) {
      const float left = kFinish ? fmaxf(0.0f, own.left[i] - sums.mass * ratio) : own.left[i];
      own.left[i] = left;
      own.spare[i] = left / (1e-9f + sums.start);
    } else if (begin) {
      const float left = own.left[i], asked = sums.start * left;
      own.ratio[i] = fminf(left / (asked + 1e-9f), 1.0f) * left;
      own.left[i] = fmaxf(0.0f, left - asked);
    }
  }
}

template <bool kIsA>
void launch(const Side& own, const Side& others, const float* begun, int64_t batch, const Levels& levels,
            bool gradient, cudaStream_t stream) {
  const unsigned blocks = grid_for(batch * ceil_div<int64_t>(own.count, kThreads), 1);
  const auto run = [&](auto kernel) {
    kernel<<<blocks, kThreads, 0, stream>>>(own, others, begun, batch, levels.begin, levels.exponent);
  };
  if (!levels.finish) run(round_kernel<kIsA, false, true, false>);
  else if (levels.fourth && gradient) run(round_kernel<kIsA, true, true, true>);
  else if (levels.fourth) run(round_kernel<kIsA, true, true, false>);
  else if (gradient) run(round_kernel<kIsA, true, false, true>);
  else run(round_kernel<kIsA, true, false, false>);
}

__device__ bool in_range(const float* points, int64_t first, int64_t values) {
  bool good = true;
  for (int64_t i = threadIdx.x; i < values; i += blockDim.x)
    good &= fabsf(points[first + i]) <= static_cast<float>(earth_mover::kLargestCoordinate);
  return good;
}

// One block per pair: the sum of costs in a fixed order, NaN for coordinates out of range, gradients scaled.
__global__ void finish_pairs(Side a, Side b, int64_t batch, float scale, float* cost) {
  __shared__ float partial[kThreads];
  for (int64_t pair = blockIdx.x; pair < batch; pair += gridDim.x) {
    float sum = 0;
    for (int64_t i = threadIdx.x; i < a.count; i += kThreads) sum += a.cost[pair * a.count + i];
    partial[threadIdx.x] = sum;
    bool good = in_range(a.points, pair * a.count * 3, a.count * 3);
    good &= in_range(b.points, pair * b.count * 3, b.count * 3);
    good = __syncthreads_and(good);
    for (int width = kThreads / 2; width > 0; width /= 2) {
      if (threadIdx.x < width) partial[threadIdx.x] += partial[threadIdx.x + width];
      __syncthreads();
    }
    if (threadIdx.x == 0) cost[pair] = good ? partial[0] * scale : nanf("");
    for (int64_t i = threadIdx.x; a.grad && i < a.count * 3; i += kThreads)
      a.grad[pair * a.count * 3 + i] = good ? a.grad[pair * a.count * 3 + i] * scale : 0.0f;
    for (int64_t i = threadIdx.x; b.grad && i < b.count * 3; i += kThreads)
      b.grad[pair * b.count * 3 + i] = good ? b.grad[pair * b.count * 3 + i] * scale : 0.0f;
    __syncthreads();
  }
}

Side make_side(const Tensor& points, Tensor& state, float* grad, bool with_cost) {
  const int64_t size = points.size(0) * points.size(1);
  float* memory = mdata<float>(state);
  return {cdata<float>(points), memory, memory + size, memory + 2 * size, with_cost ? memory + 3 * size : nullptr, grad,
          points.size(1)};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> approximate_match_cuda(const Tensor a, const Tensor b, bool with_gradient) {
  const CudaScope scope(a);
  earth_mover::check_match_inputs(a, b);
  const Tensor ca = as_contiguous(a), cb = as_contiguous(b);
  const int64_t batch = a.size(0), n = a.size(1), m = b.size(1);
  Tensor cost = make_zeros(a, {batch}, ScalarType::Float);
  Tensor grad_a = with_gradient ? make_zeros(a, {batch, n, 3}, ScalarType::Float) : make_empty(a, {0}, ScalarType::Float);
  Tensor grad_b = with_gradient ? make_zeros(a, {batch, m, 3}, ScalarType::Float) : make_empty(a, {0}, ScalarType::Float);
  if (n == 0 || batch == 0) return {cost, grad_a, grad_b};
  Tensor state_a = make_empty(a, {4, batch, n}, ScalarType::Float);
  Tensor state_b = make_empty(a, {3, batch, m}, ScalarType::Float);
  Side sa = make_side(ca, state_a, with_gradient ? mdata<float>(grad_a) : nullptr, true);
  const Side sb = make_side(cb, state_b, with_gradient ? mdata<float>(grad_b) : nullptr, false);
  const float most = static_cast<float>(n > m ? n : m);
  initialise<<<grid_for(batch * n, kThreads), kThreads, 0, scope.stream>>>(sa, batch, most / static_cast<float>(n));
  initialise<<<grid_for(batch * m, kThreads), kThreads, 0, scope.stream>>>(sb, batch, most / static_cast<float>(m));
  for (int finished = -1; finished < kRounds; ++finished) {
    const Levels levels = levels_of(finished);
    launch<true>(sa, sb, sb.left, batch, levels, with_gradient, scope.stream);
    Levels wanted = levels;
    if (!with_gradient && levels.fourth) wanted.finish = false;
    if (levels.begin || with_gradient) launch<false>(sb, sa, sa.spare, batch, wanted, with_gradient, scope.stream);
    std::swap(sa.ratio, sa.spare);
  }
  finish_pairs<<<grid_for(batch, 1), kThreads, 0, scope.stream>>>(sa, sb, batch, 1.0f / most, mdata<float>(cost));
  const cudaError_t error = cudaGetLastError();
  MAE3D_CHECK(error == cudaSuccess, "approximate_match: CUDA kernel launch failed: ", cudaGetErrorString(error));
  return {cost, grad_a, grad_b};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) { m.impl("approximate_match", TORCH_BOX(&approximate_match_cuda)); }

}  // namespace mae3d
