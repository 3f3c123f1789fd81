// Neighbour search on the device, shared by knn and ball_query. One warp per query; the warps of a block read the
// points of their cloud through shared memory. Each warp keeps the candidates below its limit in a buffer; when that is
// full, a bitonic sort keeps the k best and lowers the limit, so a query is sorted a logarithmic number of times.
// Every pair is looked at; indexed_search.cuh spares most of them in large clouds.
#pragma once

#include "../common/clouds.h"
#include "../common/cuda.cuh"

namespace mae3d {

constexpr int kSearchWarps = 8;    // queries per block
constexpr int kTilePoints = 1024;  // points in shared memory

struct DeviceSearch {
  const float *points, *queries;
  const int64_t *points_offsets, *queries_offsets;  // null: dense
  int64_t batch, point_rows, query_rows;            // rows of all clouds together
  int64_t points_each, queries_each;                // dense only
  int k;
  float limit;  // largest squared distance that counts, negative: none
  bool repeat_first;
  int64_t* indices;
  int64_t* counts;  // may be null
  float* distances;
};

struct DeviceRange {
  int64_t begin, end;
};

// Rows of cloud b; wrong offsets are clamped, so that nothing outside is read.
__device__ inline DeviceRange cloud_points(const DeviceSearch& s, int64_t b) {
  if (!s.points_offsets) return {b * s.points_each, (b + 1) * s.points_each};
  const int64_t begin = max(int64_t{0}, min(s.points_offsets[b], s.point_rows));
  return {begin, max(begin, min(s.points_offsets[b + 1], s.point_rows))};
}

__device__ inline int64_t last_at_or_before(const int64_t* offsets, int64_t batch, int64_t row) {
  int64_t low = 0, high = batch - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (offsets[middle] <= row) low = middle; else high = middle - 1;
  }
  return low;
}

__device__ inline int64_t cloud_of_query(const DeviceSearch& s, int64_t row) {
  return s.queries_offsets ? last_at_or_before(s.queries_offsets, s.batch, row) : row / s.queries_each;
}

template <int kSize> __device__ void warp_sort(unsigned long long* keys, int lane) {
  for (int size = 2; size <= kSize; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      for (int i = lane; i < kSize / 2; i += 32) {
        const int low = 2 * i - (i & (stride - 1)), high = low + stride;
        const unsigned long long a = keys[low], b = keys[high];
        if ((a > b) == ((low & size) == 0)) keys[low] = b, keys[high] = a;
      }
      __syncwarp();
    }
}

// The candidates of one warp: keys are distance bits, then position in the cloud; so ties go to the lower position.
template <int kBuffer> struct Candidates {
  unsigned long long* keys;  // [kBuffer], shared memory
  unsigned long long below;  // only smaller keys are wanted
  int count, k, lane;

  __device__ void settle() {
    for (int i = count + lane; i < kBuffer; i += 32) keys[i] = ~0ull;
    __syncwarp();
    warp_sort<kBuffer>(keys, lane);
    if (count >= k) count = k, below = keys[k - 1];
    __syncwarp();
  }
  // Called by all lanes together.
  __device__ void add(unsigned long long key, bool wanted) {
    const unsigned hits = __ballot_sync(0xffffffffu, wanted);
    if (hits == 0) return;
    if (wanted) keys[count + __popc(hits & ((1u << lane) - 1))] = key;
    count += __popc(hits);
    __syncwarp();
    if (count > kBuffer - 32) settle();
  }
};

// kByPosition: the keys are position, then distance bits.
template <int kBuffer, bool kByPosition>
__device__ void write_neighbours(const DeviceSearch& s, int64_t row, int64_t cloud, const Candidates<kBuffer>& best) {
  const int64_t shift = s.points_offsets ? cloud_points(s, cloud).begin : 0;
  const int found = min(best.count, s.k);
  for (int i = best.lane; i < s.k; i += 32) {
    const bool filled = i < found || (s.repeat_first && found > 0);
    const unsigned long long key = best.keys[i < found ? i : 0];
    const unsigned high = static_cast<unsigned>(key >> 32), low = static_cast<unsigned>(key);
    s.indices[row * s.k + i] = filled ? static_cast<int64_t>(kByPosition ? high : low) + shift : -1;
    s.distances[row * s.k + i] = filled ? __uint_as_float(kByPosition ? low : high) : INFINITY;
  }
  if (s.counts && best.lane == 0) s.counts[row] = found;
}

template <int kBuffer, bool kFirst>
__global__ void __launch_bounds__(kSearchWarps * 32) search_kernel(const DeviceSearch s) {
  __shared__ float tile[3][kTilePoints];
  __shared__ unsigned long long buffers[kSearchWarps][kBuffer];
  __shared__ int64_t clouds[kSearchWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kSearchWarps + warp;
  const bool exists = row < s.query_rows;
  const int64_t mine = exists ? cloud_of_query(s, row) : -1;
  if (lane == 0) clouds[warp] = mine;
  float q[3] = {0, 0, 0};
  if (exists)
    for (int a = 0; a < 3; ++a) q[a] = s.queries[3 * row + a];
  Candidates<kBuffer> best{buffers[warp], ~0ull, 0, s.k, lane};
  __syncthreads();

  for (int w = 0; w < kSearchWarps; ++w) {  // the clouds of this block's queries, one after the other
    const int64_t cloud = clouds[w];
    if (cloud < 0 || (w > 0 && clouds[w - 1] == cloud)) continue;
    const DeviceRange range = cloud_points(s, cloud);
    for (int64_t first = range.begin; first < range.end; first += kTilePoints) {
      const int size = static_cast<int>(min(static_cast<int64_t>(kTilePoints), range.end - first));
      __syncthreads();  // the last tile has been read
      for (int i = threadIdx.x; i < 3 * size; i += blockDim.x) tile[i % 3][i / 3] = s.points[3 * first + i];
      __syncthreads();
      const bool searching = mine == cloud && !(kFirst && best.count >= s.k);
      if (searching)
        for (int i = lane; i - lane < size; i += 32) {
          const bool inside = i < size;
          const int at = inside ? i : 0;
          const float d = squared_distance(tile[0][at], tile[1][at], tile[2][at], q[0], q[1], q[2]);
          const unsigned position = static_cast<unsigned>(first - range.begin + i);
          const unsigned long long key = static_cast<unsigned long long>(__float_as_uint(d)) << 32 | position;
          if (kFirst) {
            const bool wanted = inside && d <= s.limit;
            const unsigned hits = __ballot_sync(0xffffffffu, wanted);
            const int place = best.count + __popc(hits & ((1u << lane) - 1));
            if (wanted && place < s.k) best.keys[place] = key;
            best.count = min(s.k, best.count + __popc(hits));
            if (best.count == s.k) break;
          } else {
            best.add(key, inside && d <= s.limit && key < best.below);
          }
        }
      if (kFirst && __syncthreads_and(!(mine == cloud && best.count < s.k))) break;
    }
  }
  if (!exists) return;
  if (!kFirst) best.settle();
  __syncwarp();
  write_neighbours<kBuffer, false>(s, row, mine, best);
}

template <bool kFirst> void launch_brute_force(const DeviceSearch& s, cudaStream_t stream, const char* op) {
  const unsigned grid = static_cast<unsigned>(ceil_div<int64_t>(s.query_rows, kSearchWarps));
  const int threads = kSearchWarps * 32;
  if (s.k <= 32) {
    search_kernel<128, kFirst><<<grid, threads, 0, stream>>>(s);
  } else if (s.k <= 64) {
    search_kernel<256, kFirst><<<grid, threads, 0, stream>>>(s);
  } else {
    search_kernel<512, kFirst><<<grid, threads, 0, stream>>>(s);
  }
  const cudaError_t status = cudaGetLastError();
  MAE3D_CHECK(status == cudaSuccess, op, ": ", cudaGetErrorString(status));
}

inline DeviceSearch make_device_search(const CloudPair& pair, int64_t k, float limit) {
  DeviceSearch s{};
  s.points = pair.points.xyz, s.queries = pair.queries.xyz;
  s.points_offsets = pair.points.offsets, s.queries_offsets = pair.queries.offsets;
  s.batch = pair.points.batch;
  s.point_rows = pair.points_tensor.numel() / 3, s.query_rows = pair.queries_tensor.numel() / 3;
  s.points_each = pair.points.each, s.queries_each = pair.queries.each;
  s.k = static_cast<int>(k), s.limit = limit;
  if (s.batch == 0) s.query_rows = 0;  // packed rows without a cloud
  return s;
}

}  // namespace mae3d
