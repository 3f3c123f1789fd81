// Points of each cloud in the order of a space-filling curve, cut into leaves of 32 with their bounding boxes, and
// groups of 32 leaves with theirs. A search passes over what its bound excludes, 32 boxes at a time.
// The curve interleaves the leading bits of the coordinates' own floating-point patterns: no bounds have to be found
// first, and one far outlier cannot spoil the order of the rest. The order decides the speed only, never the result.
#pragma once

#include "../common/sorted_groups.cuh"
#include "search.cuh"

namespace mae3d {

constexpr int kLeaf = 32;  // points of a leaf, leaves of a group: one for each lane

struct PointIndex {
  const int64_t* keys;   // [point_rows] ascending: cloud, place on the curve
  const float4* points;  // [point_rows] in that order: x, y, z, bits of the position in the cloud
  const float4 *leaf_low, *leaf_high, *group_low, *group_high;
  int axis_bits;
};

// First leaf of cloud b. Clouds get slots for every leaf they can have without a prefix sum; some slots stay empty.
__device__ inline int64_t first_leaf(int64_t begin, int64_t b) { return begin / kLeaf + b; }
__device__ inline int64_t first_group(int64_t leaf, int64_t b) { return leaf / kLeaf + b; }
inline int64_t leaf_slots(int64_t rows, int64_t batch) { return rows / kLeaf + batch + 1; }
inline int64_t group_slots(int64_t rows, int64_t batch) { return leaf_slots(rows, batch) / kLeaf + batch + 1; }

__device__ inline int64_t cloud_of_point(const DeviceSearch& s, int64_t row) {
  return s.points_offsets ? last_at_or_before(s.points_offsets, s.batch, row) : row / s.points_each;
}

// Leading `bits` bits of a pattern whose order as an integer is that of the numbers.
__device__ inline uint64_t ordered_bits(float value, int bits) {
  const unsigned pattern = __float_as_uint(value);
  return (pattern ^ (pattern >> 31 ? 0xffffffffu : 0x80000000u)) >> (32 - bits);
}

__device__ inline uint64_t spread_by_three(uint64_t x) {  // bit i -> bit 3 i, for up to 21 bits
  x = (x | x << 32) & 0x1f00000000ffffull;
  x = (x | x << 16) & 0x1f0000ff0000ffull;
  x = (x | x << 8) & 0x100f00f00f00f00full;
  x = (x | x << 4) & 0x10c30c30c30c30c3ull;
  return (x | x << 2) & 0x1249249249249249ull;
}

__device__ inline int64_t curve_key(const float* xyz, int64_t cloud, int bits) {
  const uint64_t place = spread_by_three(ordered_bits(xyz[0], bits)) << 2 |
                         spread_by_three(ordered_bits(xyz[1], bits)) << 1 | spread_by_three(ordered_bits(xyz[2], bits));
  return static_cast<int64_t>(static_cast<uint64_t>(cloud) << (3 * bits) | place);
}

static __global__ void curve_keys_kernel(const DeviceSearch s, int bits, int64_t* keys) {
  MAE3D_GRID_STRIDE(row, s.point_rows) keys[row] = curve_key(s.points + 3 * row, cloud_of_point(s, row), bits);
}

static __global__ void ordered_points_kernel(const DeviceSearch s, const int32_t* rows, float4* out) {
  MAE3D_GRID_STRIDE(i, s.point_rows) {
    const int64_t row = rows[i];
    const int64_t position = row - cloud_points(s, cloud_of_point(s, row)).begin;
    const float* p = s.points + 3 * row;
    out[i] = make_float4(p[0], p[1], p[2], __uint_as_float(static_cast<unsigned>(position)));
  }
}

struct Box {
  float3 low{INFINITY, INFINITY, INFINITY}, high{-INFINITY, -INFINITY, -INFINITY};
  __device__ void cover(float4 a, float4 b) {  // fminf and fmaxf pass over NaN
    low = {fminf(low.x, a.x), fminf(low.y, a.y), fminf(low.z, a.z)};
    high = {fmaxf(high.x, b.x), fmaxf(high.y, b.y), fmaxf(high.z, b.z)};
  }
  __device__ void cover_warp() {
    for (int step = 16; step > 0; step /= 2)
      cover({__shfl_xor_sync(~0u, low.x, step), __shfl_xor_sync(~0u, low.y, step), __shfl_xor_sync(~0u, low.z, step), 0},
            {__shfl_xor_sync(~0u, high.x, step), __shfl_xor_sync(~0u, high.y, step),
             __shfl_xor_sync(~0u, high.z, step), 0});
  }
};

// One warp for each slot. kGroups: boxes of groups from those of leaves, else boxes of leaves from points.
template <bool kGroups>
__global__ void boxes_kernel(const DeviceSearch s, const float4* lows, const float4* highs, int64_t slots,
                             float4* out_low, float4* out_high) {
  const int lane = threadIdx.x % 32;
  const int64_t slot = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (slot >= slots) return;
  int64_t low = 0, high = s.batch - 1;  // last cloud whose slots begin at or before this one
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2, leaf = first_leaf(cloud_points(s, middle).begin, middle);
    if ((kGroups ? first_group(leaf, middle) : leaf) <= slot) low = middle; else high = middle - 1;
  }
  const DeviceRange range = cloud_points(s, low);
  const int64_t leaf = first_leaf(range.begin, low), leaves = ceil_div<int64_t>(range.end - range.begin, kLeaf);
  const int64_t begin = kGroups ? leaf : range.begin, count = kGroups ? leaves : range.end - range.begin;
  const int64_t i = (slot - (kGroups ? first_group(leaf, low) : leaf)) * kLeaf + lane;
  Box box;
  if (i >= 0 && i < count) box.cover(lows[begin + i], highs[begin + i]);
  box.cover_warp();
  if (lane == 0) {
    out_low[slot] = make_float4(box.low.x, box.low.y, box.low.z, 0);
    out_high[slot] = make_float4(box.high.x, box.high.y, box.high.z, 0);
  }
}

// Owns the memory of an index; make it on the stream that searches.
class DevicePointIndex {
 public:
  DevicePointIndex(const DeviceSearch& s, const Tensor& like, cudaStream_t stream, const char* op)
      : leaves_(leaf_slots(s.point_rows, s.batch)), groups_(group_slots(s.point_rows, s.batch)),
        points_(make_empty(like, {s.point_rows * 4}, ScalarType::Float)),
        boxes_(make_empty(like, {(leaves_ + groups_) * 8}, ScalarType::Float)) {
    constexpr int kThreads = 256;
    const int cloud_bits = bits_for(s.batch);
    index.axis_bits = std::min(21, (63 - cloud_bits) / 3);
    const Tensor keys = make_empty(like, {s.point_rows}, ScalarType::Long);
    const unsigned blocks = grid_for(s.point_rows, kThreads);
    curve_keys_kernel<<<blocks, kThreads, 0, stream>>>(s, index.axis_bits, mdata<int64_t>(keys));
    sorted_ = sort_rows(keys, cloud_bits + 3 * index.axis_bits, stream, op);
    auto* points = reinterpret_cast<float4*>(mdata<float>(points_));
    ordered_points_kernel<<<blocks, kThreads, 0, stream>>>(s, cdata<int32_t>(sorted_.rows), points);
    auto* leaf_low = reinterpret_cast<float4*>(mdata<float>(boxes_));
    float4 *leaf_high = leaf_low + leaves_, *group_low = leaf_high + leaves_, *group_high = group_low + groups_;
    const auto warps = [](int64_t slots) { return static_cast<unsigned>(ceil_div<int64_t>(slots * 32, kThreads)); };
    boxes_kernel<false><<<warps(leaves_), kThreads, 0, stream>>>(s, points, points, leaves_, leaf_low, leaf_high);
    boxes_kernel<true>
        <<<warps(groups_), kThreads, 0, stream>>>(s, leaf_low, leaf_high, groups_, group_low, group_high);
    check_cuda(cudaGetLastError(), op);
    index.keys = cdata<int64_t>(sorted_.keys), index.points = points;
    index.leaf_low = leaf_low, index.leaf_high = leaf_high;
    index.group_low = group_low, index.group_high = group_high;
  }

  PointIndex index{};

 private:
  int64_t leaves_, groups_;
  Tensor points_, boxes_;
  SortedRows sorted_;
};

}  // namespace mae3d
