// Neighbour search on the device for large clouds: the leaves around a query's own place on the curve give a first
// bound, then every group and leaf whose box lies within the bound is looked at. Distances, ties and order are those of
// brute force: a box excludes only what is farther than the bound by the same rounding.
#pragma once

#include "point_index.cuh"

namespace mae3d {

// Squared distance from q to a box, never above that of any point in it: subtraction, product and sum round monotonely.
__device__ inline float box_distance(const float* q, float4 low, float4 high) {
  const float x = fmaxf(fmaxf(__fsub_rn(low.x, q[0]), __fsub_rn(q[0], high.x)), 0.0f);
  const float y = fmaxf(fmaxf(__fsub_rn(low.y, q[1]), __fsub_rn(q[1], high.y)), 0.0f);
  const float z = fmaxf(fmaxf(__fsub_rn(low.z, q[2]), __fsub_rn(q[2], high.z)), 0.0f);
  return __fadd_rn(__fadd_rn(__fmul_rn(x, x), __fmul_rn(y, y)), __fmul_rn(z, z));
}

// First of the ascending keys in [begin, end) that is not below `wanted`; 32 parts at a time.
__device__ inline int64_t warp_lower_bound(const int64_t* keys, int64_t begin, int64_t end, int64_t wanted, int lane) {
  while (begin < end) {
    const int64_t part = ceil_div<int64_t>(end - begin, 32), last = begin + (lane + 1) * part - 1;
    const int below = __popc(__ballot_sync(~0u, last < end && keys[last] < wanted));
    begin += below * part;
    end = min(end, begin + part - 1);
  }
  return begin;
}

// One query's view of the index. All lanes of a warp call the members together.
template <int kBuffer, bool kFirst> struct IndexedQuery {
  const DeviceSearch& s;
  const PointIndex& index;
  DeviceRange range;
  int64_t leaf_base, group_base, leaves;
  float q[3];
  Candidates<kBuffer> best;  // kFirst: keys are position, then distance bits

  __device__ float bound() const {
    if (kFirst || best.below == ~0ull) return s.limit;
    return fminf(s.limit, __uint_as_float(static_cast<unsigned>(best.below >> 32)));
  }
  __device__ bool near(int64_t leaf) const {
    return box_distance(q, index.leaf_low[leaf_base + leaf], index.leaf_high[leaf_base + leaf]) <= bound();
  }
  __device__ void visit(int64_t leaf) {
    const int64_t i = range.begin + leaf * kLeaf + best.lane;
    const bool inside = i < range.end;
    const float4 p = index.points[inside ? i : range.begin];
    const float d = squared_distance(p.x, p.y, p.z, q[0], q[1], q[2]);
    const unsigned long long bits = __float_as_uint(d), position = __float_as_uint(p.w);
    const unsigned long long key = kFirst ? position << 32 | bits : bits << 32 | position;
    best.add(key, inside && d <= s.limit && key < best.below);
  }
  // Looks at all leaves within the bound except [first, last], which have been looked at.
  __device__ void sweep(int64_t first, int64_t last) {
    const int64_t groups = ceil_div<int64_t>(leaves, kLeaf);
    for (int64_t begin = 0; begin < groups; begin += 32) {
      const int64_t mine = begin + best.lane;
      const float4* low = index.group_low + group_base;
      const float4* high = index.group_high + group_base;
      const bool wanted = mine < groups && box_distance(q, low[mine], high[mine]) <= bound();
      for (unsigned left = __ballot_sync(~0u, wanted); left; left &= left - 1) {
        const int64_t group = begin + __ffs(left) - 1, leaf = group * kLeaf + best.lane;
        const bool open = leaf < leaves && (leaf < first || leaf > last) && near(leaf);
        for (unsigned hits = __ballot_sync(~0u, open); hits; hits &= hits - 1)
          visit(group * kLeaf + __ffs(hits) - 1);
      }
    }
  }
};

template <int kBuffer, bool kFirst>
__global__ void __launch_bounds__(kSearchWarps * 32) indexed_search_kernel(const DeviceSearch s, const PointIndex index) {
  __shared__ unsigned long long buffers[kSearchWarps][kBuffer];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kSearchWarps + warp;
  if (row >= s.query_rows) return;
  const int64_t cloud = cloud_of_query(s, row);
  const DeviceRange range = cloud_points(s, cloud);
  const int64_t leaf_base = first_leaf(range.begin, cloud), leaves = ceil_div<int64_t>(range.end - range.begin, kLeaf);
  const float* at = s.queries + 3 * row;
  IndexedQuery<kBuffer, kFirst> query{s, index, range, leaf_base, first_group(leaf_base, cloud), leaves,
                                      {at[0], at[1], at[2]}, {buffers[warp], ~0ull, 0, s.k, lane}};
  if (!(isnan(at[0]) || isnan(at[1]) || isnan(at[2]))) {  // NaN is near nothing
    int64_t first = 0, last = -1;
    if (!kFirst && leaves > 0) {
      const int64_t key = curve_key(at, cloud, index.axis_bits);
      const int64_t home = (warp_lower_bound(index.keys, range.begin, range.end, key, lane) - range.begin) / kLeaf;
      const int reach = 1 + s.k / 64;  // three leaves or more: at least twice k points, ends of the curve aside
      first = max(int64_t{0}, min(home, leaves - 1) - reach), last = min(leaves - 1, home + reach);
      for (int64_t leaf = first; leaf <= last; ++leaf) query.visit(leaf);
      query.best.settle();
    }
    query.sweep(first, last);
  }
  query.best.settle();
  write_neighbours<kBuffer, kFirst>(s, row, cloud, query.best);
}

template <bool kFirst>
void launch_indexed(const DeviceSearch& s, const Tensor& like, cudaStream_t stream, const char* op) {
  const DevicePointIndex made(s, like, stream, op);
  const unsigned grid = static_cast<unsigned>(ceil_div<int64_t>(s.query_rows, kSearchWarps));
  const int threads = kSearchWarps * 32;
  if (s.k <= 32) {
    indexed_search_kernel<128, kFirst><<<grid, threads, 0, stream>>>(s, made.index);
  } else if (s.k <= 64) {
    indexed_search_kernel<256, kFirst><<<grid, threads, 0, stream>>>(s, made.index);
  } else {
    indexed_search_kernel<512, kFirst><<<grid, threads, 0, stream>>>(s, made.index);
  }
  check_cuda(cudaGetLastError(), op);
}

// Whether the pairs that an index spares outweigh the time to make it.
inline bool worth_an_index(const DeviceSearch& s) {
  const int64_t each = s.batch > 0 ? s.point_rows / s.batch : 0;
  return each >= 4096 && s.point_rows < (int64_t{1} << 31) && s.query_rows > (int64_t{1} << 27) / each;
}

// `like`: a tensor on the device, for scratch memory.
template <bool kFirst>
void launch_search(const DeviceSearch& s, const Tensor& like, cudaStream_t stream, const char* op) {
  if (s.query_rows == 0) return;
  MAE3D_CHECK(ceil_div<int64_t>(s.query_rows, kSearchWarps) < (int64_t{1} << 31), op,
              ": too many queries for one call: ", s.query_rows);
  MAE3D_CHECK(s.point_rows < (int64_t{1} << 32), op, ": too many points for one call: ", s.point_rows);
  if (worth_an_index(s)) {
    launch_indexed<kFirst>(s, like, stream, op);
  } else {
    launch_brute_force<kFirst>(s, stream, op);
  }
}

}  // namespace mae3d
