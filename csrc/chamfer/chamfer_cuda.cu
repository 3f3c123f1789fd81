#include "chamfer.h"

#include <limits>

#include "../common/cuda.cuh"

namespace mae3d {
namespace {

constexpr int kThreads = 128;     // queries of a block, and rows of a shared tile
constexpr int kSmall = 64;        // largest set that one warp takes whole
constexpr int kWarpsPerBlock = 4;

// Rows [first, last) of the set that holds a row, or of the set itself.
struct Span {
  int64_t first, last;
};

struct Rows {  // the part of PointSets that a kernel needs
  const bool* mask;
  const int64_t* offsets;
  int64_t sets, per_set, rows;

  __device__ int64_t clamp(int64_t offset) const { return offset < 0 ? 0 : offset > rows ? rows : offset; }
  __device__ Span of_set(int64_t set) const {
    if (!offsets) return {set * per_set, (set + 1) * per_set};
    return {clamp(offsets[set]), clamp(offsets[set + 1])};
  }
  // The set of a row; `sets` for a row that no set holds (offsets that end early).
  __device__ int64_t set_of(int64_t row) const {
    if (!offsets) return row / per_set;
    int64_t low = 0, high = sets;  // first set that ends behind the row
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (offsets[middle + 1] > row) high = middle;
      else low = middle + 1;
    }
    return low;
  }
};

Rows rows_of(const PointSets& side) {
  return {side.mask ? cdata<bool>(*side.mask) : nullptr, side.offsets ? cdata<int64_t>(*side.offsets) : nullptr,
          side.sets, side.per_set, side.rows};
}

template <typename T> struct Point {
  T x, y, z;
};

template <typename T> __device__ Point<T> load(const T* points, int64_t row) {
  return {points[3 * row], points[3 * row + 1], points[3 * row + 2]};
}
template <typename T> __device__ bool has_nan(const Point<T>& p) { return p.x != p.x || p.y != p.y || p.z != p.z; }

template <typename T>
__device__ void store(T best, int64_t partner, bool masked, const Point<T>& p, int64_t row, T* distance,
                      int64_t* index) {
  const bool nan = has_nan(p);
  index[row] = masked || nan ? -1 : partner;
  distance[row] = masked ? T(0) : nan ? std::numeric_limits<T>::quiet_NaN() : best;
}

// One warp per pair of small dense sets: both in shared memory, a lane per query, both ways. A masked candidate is
// stored as NaN, which is never nearer.
template <typename T>
__global__ void small_pairs(const T* a, const T* b, Rows ra, Rows rb, T* a_to_b, T* b_to_a, int64_t* a_index,
                            int64_t* b_index) {
  __shared__ T tile[kWarpsPerBlock][2][3][kSmall];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int n = static_cast<int>(ra.per_set), m = static_cast<int>(rb.per_set);
  for (int64_t pair = static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + warp; pair < ra.sets;
       pair += static_cast<int64_t>(gridDim.x) * kWarpsPerBlock) {
    for (int side = 0; side < 2; ++side) {
      const Rows& r = side == 0 ? ra : rb;
      const T* points = side == 0 ? a : b;
      for (int i = lane; i < r.per_set; i += 32) {
        const int64_t row = pair * r.per_set + i;
        const bool masked = r.mask && !r.mask[row];
        const Point<T> p = load(points, row);
        tile[warp][side][0][i] = masked ? std::numeric_limits<T>::quiet_NaN() : p.x;
        tile[warp][side][1][i] = p.y;
        tile[warp][side][2][i] = p.z;
      }
    }
    __syncwarp();
    for (int side = 0; side < 2; ++side) {
      const int queries = side == 0 ? n : m, candidates = side == 0 ? m : n;
      const Rows& r = side == 0 ? ra : rb;
      const auto& q = tile[warp][side];
      const auto& c = tile[warp][1 - side];
      for (int i = lane; i < queries; i += 32) {
        T best = std::numeric_limits<T>::infinity();
        int64_t partner = -1;
        for (int j = 0; j < candidates; ++j) {
          const T d = squared_distance(q[0][i], q[1][i], q[2][i], c[0][j], c[1][j], c[2][j]);
          if (d < best) best = d, partner = j;
        }
        const int64_t row = pair * queries + i;
        const bool masked = r.mask && !r.mask[row];
        store(best, partner, masked, Point<T>{q[0][i], q[1][i], q[2][i]}, row, side == 0 ? a_to_b : b_to_a,
              side == 0 ? a_index : b_index);
      }
    }
    __syncwarp();
  }
}

// One thread per query row, candidates by shared tiles. A block may hold rows of several sets: it walks the union of
// their candidates and each thread takes its own part.
template <typename T>
__global__ void tiled_search(const T* queries, const T* candidates, Rows rq, Rows rc, T* distance, int64_t* index) {
  __shared__ T tile[3][kThreads];
  __shared__ int64_t walk[2];
  const int64_t blocks = ceil_div<int64_t>(rq.rows, kThreads);
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t row = block * kThreads + threadIdx.x;
    const int64_t set = row < rq.rows ? rq.set_of(row) : rq.sets;
    const Span own = set < rq.sets ? rc.of_set(set) : Span{0, 0};
    const Point<T> p = row < rq.rows ? load(queries, row) : Point<T>{0, 0, 0};
    if (threadIdx.x == 0) {
      const int64_t last_row = min(rq.rows, (block + 1) * kThreads) - 1;
      const int64_t last_set = min(rq.set_of(last_row), rq.sets - 1);
      walk[0] = set < rq.sets ? own.first : 0;
      walk[1] = set < rq.sets ? rc.of_set(last_set).last : 0;
    }
    __syncthreads();
    T best = std::numeric_limits<T>::infinity();
    int64_t partner = -1;
    for (int64_t begin = walk[0]; begin < walk[1]; begin += kThreads) {
      const int64_t mine = begin + threadIdx.x;
      if (mine < walk[1]) {
        const bool masked = rc.mask && !rc.mask[mine];
        const Point<T> c = load(candidates, mine);
        tile[0][threadIdx.x] = masked ? std::numeric_limits<T>::quiet_NaN() : c.x;
        tile[1][threadIdx.x] = c.y;
        tile[2][threadIdx.x] = c.z;
      }
      __syncthreads();
      const int64_t from = max(own.first, begin) - begin, until = min(own.last, begin + kThreads) - begin;
      for (int64_t j = from; j < until; ++j) {
        const T d = squared_distance(p.x, p.y, p.z, tile[0][j], tile[1][j], tile[2][j]);
        if (d < best) best = d, partner = begin + j;
      }
      __syncthreads();
    }
    __syncthreads();  // walk is rewritten
    if (row >= rq.rows) continue;
    const bool masked = rq.mask && !rq.mask[row];
    store(best, partner < 0 || rc.offsets ? partner : partner - own.first, masked, p, row, distance, index);
  }
}

template <typename T> __device__ T term(T factor, T from, T to);
template <> __device__ float term(float factor, float from, float to) {
  return __fmul_rn(factor, __fsub_rn(from, to));
}
template <> __device__ double term(double factor, double from, double to) {
  return __dmul_rn(factor, __dsub_rn(from, to));
}

// Gradient of one side: a thread per row adds its own pair, then looks through all partners for those that chose it,
// in order and without atomics, so that the sum has one fixed order. `back` is the index array of the other side.
template <typename T>
__global__ void gradient(const T* points, const T* others, const T* grad, const T* back_grad, const int64_t* index,
                         const int64_t* back, Rows r, Rows ro, T* result) {
  __shared__ int64_t chosen[kThreads];
  __shared__ int64_t walk[2];
  const int64_t blocks = ceil_div<int64_t>(r.rows, kThreads);
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t row = block * kThreads + threadIdx.x;
    const int64_t set = row < r.rows ? r.set_of(row) : r.sets;
    const bool active = set < r.sets;
    const Span own = active ? ro.of_set(set) : Span{0, 0};
    const int64_t name = !active ? -2 : r.offsets ? row : row - r.of_set(set).first;  // how partners call this row
    if (threadIdx.x == 0) {
      const int64_t last_row = min(r.rows, (block + 1) * kThreads) - 1;
      walk[0] = active ? own.first : 0;
      walk[1] = active ? ro.of_set(min(r.set_of(last_row), r.sets - 1)).last : 0;
    }
    __syncthreads();
    const Point<T> p = row < r.rows ? load(points, row) : Point<T>{0, 0, 0};
    T sum[3] = {0, 0, 0};
    if (active && index[row] >= 0) {
      const int64_t j = index[row] + (ro.offsets ? 0 : own.first);
      if (j >= own.first && j < own.last) {
        const Point<T> o = load(others, j);
        const T g = T(2) * grad[row];
        sum[0] += term(g, p.x, o.x), sum[1] += term(g, p.y, o.y), sum[2] += term(g, p.z, o.z);
      }
    }
    for (int64_t begin = walk[0]; begin < walk[1]; begin += kThreads) {
      const int64_t mine = begin + threadIdx.x;
      if (mine < walk[1]) chosen[threadIdx.x] = back[mine];
      __syncthreads();
      const int64_t from = max(own.first, begin) - begin, until = min(own.last, begin + kThreads) - begin;
      for (int64_t j = from; j < until; ++j) {
        if (chosen[j] != name) continue;
        const Point<T> o = load(others, begin + j);
        const T g = T(2) * back_grad[begin + j];
        sum[0] -= term(g, o.x, p.x), sum[1] -= term(g, o.y, p.y), sum[2] -= term(g, o.z, p.z);
      }
      __syncthreads();
    }
    __syncthreads();
    if (row >= r.rows) continue;
    for (int k = 0; k < 3; ++k) result[3 * row + k] = sum[k];
  }
}

struct Result {
  Tensor a_to_b, b_to_a, a_index, b_index;
};

template <typename T> void forward(const PointSets& a, const PointSets& b, Result& r, cudaStream_t stream) {
  const Rows ra = rows_of(a), rb = rows_of(b);
  const T *pa = cdata<T>(a.points), *pb = cdata<T>(b.points);
  T *da = mdata<T>(r.a_to_b), *db = mdata<T>(r.b_to_a);
  int64_t *ia = mdata<int64_t>(r.a_index), *ib = mdata<int64_t>(r.b_index);
  if (!a.offsets && a.sets > 0 && a.per_set <= kSmall && b.per_set <= kSmall) {
    small_pairs<T><<<grid_for(a.sets * 32, kWarpsPerBlock * 32), kWarpsPerBlock * 32, 0, stream>>>(pa, pb, ra, rb, da,
                                                                                                  db, ia, ib);
    return;
  }
  if (a.rows) tiled_search<T><<<grid_for(a.rows, kThreads), kThreads, 0, stream>>>(pa, pb, ra, rb, da, ia);
  if (b.rows) tiled_search<T><<<grid_for(b.rows, kThreads), kThreads, 0, stream>>>(pb, pa, rb, ra, db, ib);
}

void check_launch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  MAE3D_CHECK(error == cudaSuccess, op, ": CUDA kernel launch failed: ", cudaGetErrorString(error));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> chamfer_distance_cuda(const Tensor a, const Tensor b,
                                                                 const OptionalTensor a_mask,
                                                                 const OptionalTensor b_mask,
                                                                 const OptionalTensor a_offsets,
                                                                 const OptionalTensor b_offsets) {
  const char* op = "chamfer_distance";
  const CudaScope scope(a);
  const PointSets pa = point_sets(a, a_mask, a_offsets, op, "a"), pb = point_sets(b, b_mask, b_offsets, op, "b");
  check_pair(pa, pb, op);
  const ScalarType dtype = a.scalar_type();
  Result r{make_empty(a, pa.result_shape(), dtype), make_empty(a, pb.result_shape(), dtype),
           make_empty(a, pa.result_shape(), ScalarType::Long), make_empty(a, pb.result_shape(), ScalarType::Long)};
  dtype == ScalarType::Float ? forward<float>(pa, pb, r, scope.stream) : forward<double>(pa, pb, r, scope.stream);
  check_launch(op);
  return {r.a_to_b, r.b_to_a, r.a_index, r.b_index};
}

namespace {

struct BackwardInputs {
  Tensor grad_a_to_b, grad_b_to_a, a_index, b_index;
};

template <typename T>
void backward(const PointSets& a, const PointSets& b, const BackwardInputs& in, Tensor& grad_a, Tensor& grad_b,
              cudaStream_t stream) {
  const Rows ra = rows_of(a), rb = rows_of(b);
  const T *pa = cdata<T>(a.points), *pb = cdata<T>(b.points);
  const T *ga = cdata<T>(in.grad_a_to_b), *gb = cdata<T>(in.grad_b_to_a);
  const int64_t *ia = cdata<int64_t>(in.a_index), *ib = cdata<int64_t>(in.b_index);
  if (a.rows)
    gradient<T><<<grid_for(a.rows, kThreads), kThreads, 0, stream>>>(pa, pb, ga, gb, ia, ib, ra, rb, mdata<T>(grad_a));
  if (b.rows)
    gradient<T><<<grid_for(b.rows, kThreads), kThreads, 0, stream>>>(pb, pa, gb, ga, ib, ia, rb, ra, mdata<T>(grad_b));
}

}  // namespace

std::tuple<Tensor, Tensor> chamfer_distance_backward_cuda(const Tensor grad_a_to_b, const Tensor grad_b_to_a,
                                                          const Tensor a, const Tensor b, const Tensor a_to_b_index,
                                                          const Tensor b_to_a_index, const OptionalTensor a_offsets,
                                                          const OptionalTensor b_offsets) {
  const char* op = "chamfer_distance_backward";
  const CudaScope scope(a);
  const PointSets pa = point_sets(a, {}, a_offsets, op, "a"), pb = point_sets(b, {}, b_offsets, op, "b");
  check_pair(pa, pb, op);
  check_backward(pa, grad_a_to_b, a_to_b_index, op, "grad_a_to_b", "a_to_b_index");
  check_backward(pb, grad_b_to_a, b_to_a_index, op, "grad_b_to_a", "b_to_a_index");
  const BackwardInputs in{as_contiguous(grad_a_to_b), as_contiguous(grad_b_to_a), as_contiguous(a_to_b_index),
                          as_contiguous(b_to_a_index)};
  const ScalarType dtype = a.scalar_type();
  Tensor grad_a = torch::stable::new_empty(a, a.sizes(), dtype), grad_b = torch::stable::new_empty(b, b.sizes(), dtype);
  dtype == ScalarType::Float ? backward<float>(pa, pb, in, grad_a, grad_b, scope.stream)
                             : backward<double>(pa, pb, in, grad_a, grad_b, scope.stream);
  check_launch(op);
  return {grad_a, grad_b};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("chamfer_distance", TORCH_BOX(&chamfer_distance_cuda));
  m.impl("chamfer_distance_backward", TORCH_BOX(&chamfer_distance_backward_cuda));
}

}  // namespace mae3d
