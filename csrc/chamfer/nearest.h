// CPU: exact nearest neighbour of every point of one cloud in another, the lowest index of several at equal distance.
//
// Small clouds: all pairs, one vector of queries at a time held in registers. Large clouds: both are sorted along a
// Z-order curve and cut into blocks of 16; a vector of 16 neighbouring queries visits only the blocks of candidates
// whose bounding box is not farther than its worst nearest distance so far. Box distances are rounded as point
// distances are, hence never above them: the result has the same bits as all pairs.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../common/geometry.h"
#include "../common/simd.h"
#include "../common/tensor.h"

namespace mae3d::chamfer {

constexpr int64_t kLanes = 16;                 // points of a block, blocks of a group
constexpr int64_t kBruteForcePairs = 1 << 19;  // below, sorting costs more than it saves

inline int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Finite, unmasked points of one cloud as structure of arrays, padded to whole blocks.
template <typename T> struct Cloud {
  std::vector<T> x, y, z;
  std::vector<int32_t> row;  // within the set; ascending unless sorted
  int64_t count = 0;
  bool complete = false;  // every row of the set is here
};

template <typename T> void gather(const T* points, const bool* mask, int64_t n, Cloud<T>& cloud) {
  if (static_cast<int64_t>(cloud.x.size()) < padded(n))
    cloud.x.resize(padded(n)), cloud.y.resize(padded(n)), cloud.z.resize(padded(n)), cloud.row.resize(padded(n));
  T probe = 0;  // stays 0 if all are finite, else becomes NaN
#pragma omp simd reduction(+ : probe)
  for (int64_t i = 0; i < 3 * n; ++i) probe += points[i] * T(0);
  cloud.complete = probe == T(0) && !mask;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T px = points[3 * i], py = points[3 * i + 1], pz = points[3 * i + 2];
    cloud.x[count] = px, cloud.y[count] = py, cloud.z[count] = pz, cloud.row[count] = static_cast<int32_t>(i);
    count += cloud.complete || ((px - px) + (py - py) + (pz - pz) == T(0) && (!mask || mask[i]));
  }
  cloud.count = count;
}

// kWidth queries, kept in registers, against all candidates.
template <int64_t kWidth, typename T>
MAE3D_INLINE void some_queries(const T* qx, const T* qy, const T* qz, const T* cx, const T* cy, const T* cz,
                               int64_t candidates, T* best, int32_t* partner) {
  T distance[kWidth], x[kWidth], y[kWidth], z[kWidth];
  int32_t found[kWidth];
  for (int64_t l = 0; l < kWidth; ++l) {
    distance[l] = std::numeric_limits<T>::infinity(), found[l] = -1;
    x[l] = qx[l], y[l] = qy[l], z[l] = qz[l];
  }
  for (int64_t c = 0; c < candidates; ++c) {  // ascending: a strict < keeps the first of equals
    const T px = cx[c], py = cy[c], pz = cz[c];
#pragma omp simd
    for (int64_t l = 0; l < kWidth; ++l) {
      const T d = squared_distance(x[l], y[l], z[l], px, py, pz);
      const int32_t take = -static_cast<int32_t>(d < distance[l]);  // bits, not a branch: half of the tests succeed
      found[l] = (found[l] & ~take) | (static_cast<int32_t>(c) & take);
      distance[l] = d < distance[l] ? d : distance[l];
    }
  }
  for (int64_t l = 0; l < kWidth; ++l) best[l] = distance[l], partner[l] = found[l];
}

// Squared distances from queries to candidates; partner is a position in `candidates`, -1 at +inf.
template <typename T>
MAE3D_INLINE void all_pairs_body(const T* qx, const T* qy, const T* qz, int64_t queries, const T* cx, const T* cy,
                                 const T* cz, int64_t candidates, T* best, int32_t* partner) {
  int64_t q = 0;
  for (; q + kLanes < queries; q += 2 * kLanes)
    some_queries<2 * kLanes>(qx + q, qy + q, qz + q, cx, cy, cz, candidates, best + q, partner + q);
  if (q < queries) some_queries<kLanes>(qx + q, qy + q, qz + q, cx, cy, cz, candidates, best + q, partner + q);
}

// Bounding boxes, structure of arrays: of each block of 16 points, and of each group of 16 blocks.
template <typename T> struct Boxes {
  std::vector<T> low[3], high[3];
  int64_t count = 0;

  void resize(int64_t n) {
    for (int k = 0; k < 3; ++k)
      if (static_cast<int64_t>(low[k].size()) < padded(n)) low[k].resize(padded(n)), high[k].resize(padded(n));
    count = n;
  }
  void pad() {  // empty boxes: infinitely far from everything finite
    for (int64_t i = count; i < padded(count); ++i)
      for (int k = 0; k < 3; ++k)
        low[k][i] = std::numeric_limits<T>::infinity(), high[k][i] = -std::numeric_limits<T>::infinity();
  }
};

template <typename T> struct SortedCloud {
  Cloud<T> points;
  std::vector<uint32_t> code;
  Boxes<T> blocks, groups;
  std::vector<uint64_t> keys, spare;
};

// The cells of the curve, shared by both clouds so that their codes can be compared.
template <typename T> struct Frame {
  T low[3], high[3];

  void reset() {
    for (int k = 0; k < 3; ++k)
      low[k] = std::numeric_limits<T>::infinity(), high[k] = -std::numeric_limits<T>::infinity();
  }
  void include(const Cloud<T>& cloud) {
    const T* axes[3] = {cloud.x.data(), cloud.y.data(), cloud.z.data()};
    for (int k = 0; k < 3; ++k)
      for (int64_t i = 0; i < cloud.count; ++i)
        low[k] = std::min(low[k], axes[k][i]), high[k] = std::max(high[k], axes[k][i]);
  }
};

inline uint32_t spread_bits(uint32_t v) {  // 10 bits, two zeros after each
  v = (v | (v << 16)) & 0x030000FF;
  v = (v | (v << 8)) & 0x0300F00F;
  v = (v | (v << 4)) & 0x030C30C3;
  return (v | (v << 2)) & 0x09249249;
}

template <typename T> uint32_t cell_of(T value, T low, double scale) {
  const double cell = (0.5 * value - 0.5 * low) * scale;  // halves: the width of the largest clouds overflows
  if (!(cell > 0)) return 0;                              // also NaN
  return cell < 1023 ? static_cast<uint32_t>(cell) : 1023;
}

template <typename T> void sort_keys(const Cloud<T>& cloud, const Frame<T>& frame, SortedCloud<T>& sorted) {
  double scale[3];
  for (int k = 0; k < 3; ++k) {
    const double half = 0.5 * frame.high[k] - 0.5 * frame.low[k];
    scale[k] = half > 0 ? 1023.0 / half : 0.0;
  }
  uint32_t counts[3][1024] = {};
  sorted.keys.resize(cloud.count), sorted.spare.resize(cloud.count);
  for (int64_t i = 0; i < cloud.count; ++i) {
    const uint32_t code = spread_bits(cell_of(cloud.x[i], frame.low[0], scale[0])) |
                          spread_bits(cell_of(cloud.y[i], frame.low[1], scale[1])) << 1 |
                          spread_bits(cell_of(cloud.z[i], frame.low[2], scale[2])) << 2;
    for (int pass = 0; pass < 3; ++pass) ++counts[pass][(code >> (10 * pass)) & 1023];
    sorted.keys[i] = static_cast<uint64_t>(code) << 32 | static_cast<uint64_t>(i);
  }
  for (int pass = 0; pass < 3; ++pass) {
    uint32_t start = 0;
    for (uint32_t& count : counts[pass]) {
      const uint32_t size = count;
      count = start;
      start += size;
    }
    for (const uint64_t key : sorted.keys) sorted.spare[counts[pass][(key >> (32 + 10 * pass)) & 1023]++] = key;
    sorted.keys.swap(sorted.spare);
  }
}

template <typename T> void enclose(const T* const axes[3], int64_t n, Boxes<T>& boxes) {
  boxes.resize((n + kLanes - 1) / kLanes);
  for (int k = 0; k < 3; ++k)
    for (int64_t block = 0; block < boxes.count; ++block) {
      T low = axes[k][block * kLanes], high = low;
      for (int64_t i = 1; i < kLanes; ++i)
        low = std::min(low, axes[k][block * kLanes + i]), high = std::max(high, axes[k][block * kLanes + i]);
      boxes.low[k][block] = low, boxes.high[k][block] = high;
    }
  boxes.pad();
}

template <typename T> void sort_cloud(const Cloud<T>& cloud, const Frame<T>& frame, SortedCloud<T>& sorted) {
  sort_keys(cloud, frame, sorted);
  Cloud<T>& points = sorted.points;
  const int64_t n = cloud.count, size = padded(n);
  points.x.resize(size), points.y.resize(size), points.z.resize(size), points.row.resize(size);
  sorted.code.resize(size);
  points.count = n;
  for (int64_t i = 0; i < size; ++i) {  // the last point fills the last block: a copy changes no minimum
    const uint64_t key = sorted.keys[std::min(i, n - 1)];
    const int64_t from = static_cast<int64_t>(key & 0xFFFFFFFF);
    points.x[i] = cloud.x[from], points.y[i] = cloud.y[from], points.z[i] = cloud.z[from];
    points.row[i] = cloud.row[from];
    sorted.code[i] = static_cast<uint32_t>(key >> 32);
  }
  const T* axes[3] = {points.x.data(), points.y.data(), points.z.data()};
  enclose(axes, size, sorted.blocks);
  sorted.groups.resize((sorted.blocks.count + kLanes - 1) / kLanes);
  for (int k = 0; k < 3; ++k)
    for (int64_t group = 0; group < sorted.groups.count; ++group) {
      const int64_t begin = group * kLanes, end = std::min(begin + kLanes, sorted.blocks.count);
      sorted.groups.low[k][group] = *std::min_element(&sorted.blocks.low[k][begin], &sorted.blocks.low[k][0] + end);
      sorted.groups.high[k][group] = *std::max_element(&sorted.blocks.high[k][begin], &sorted.blocks.high[k][0] + end);
    }
  sorted.groups.pad();
}

template <typename T> struct Queries {  // 16 lanes, their box, and what they have found
  T x[kLanes], y[kLanes], z[kLanes], best[kLanes], low[3], high[3];
  int32_t partner[kLanes];
};

// Lower bounds of the squared distances from the queries' box to 16 boxes.
template <typename T>
MAE3D_INLINE void bounds(const Queries<T>& q, const T* const low[3], const T* const high[3], int64_t first, T* bound) {
#pragma omp simd
  for (int64_t l = 0; l < kLanes; ++l) {
    T gap[3];
    for (int k = 0; k < 3; ++k) {
      const T after = low[k][first + l] - q.high[k], before = q.low[k] - high[k][first + l];
      const T wide = after > before ? after : before;
      gap[k] = wide > T(0) ? wide : T(0);
    }
    bound[l] = (gap[0] * gap[0] + gap[1] * gap[1]) + gap[2] * gap[2];
  }
}

template <typename T>
MAE3D_INLINE void visit(Queries<T>& q, const T* cx, const T* cy, const T* cz, const int32_t* row, int64_t block) {
  T best[kLanes], x[kLanes], y[kLanes], z[kLanes];
  int32_t partner[kLanes];
  for (int64_t l = 0; l < kLanes; ++l)
    best[l] = q.best[l], partner[l] = q.partner[l], x[l] = q.x[l], y[l] = q.y[l], z[l] = q.z[l];
  for (int64_t c = block * kLanes; c < (block + 1) * kLanes; ++c) {
    const T px = cx[c], py = cy[c], pz = cz[c];
    const int32_t candidate = row[c];
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) {
      const T d = squared_distance(x[l], y[l], z[l], px, py, pz);
      const int32_t take = -static_cast<int32_t>((d < best[l]) | ((d == best[l]) & (candidate < partner[l])));
      partner[l] = (partner[l] & ~take) | (candidate & take);
      best[l] = d < best[l] ? d : best[l];
    }
  }
  for (int64_t l = 0; l < kLanes; ++l) q.best[l] = best[l], q.partner[l] = partner[l];
}

template <typename T> MAE3D_INLINE T worst(const Queries<T>& q) {
  T value = q.best[0];
  for (int64_t l = 1; l < kLanes; ++l) value = q.best[l] > value ? q.best[l] : value;
  return value;
}

// One block of queries, begun at the candidate block `seed`.
template <typename T> MAE3D_INLINE void search_body(Queries<T>& q, const SortedCloud<T>& to, int64_t seed) {
  const T *cx = to.points.x.data(), *cy = to.points.y.data(), *cz = to.points.z.data();
  const int32_t* row = to.points.row.data();
  const T* const group_low[3] = {to.groups.low[0].data(), to.groups.low[1].data(), to.groups.low[2].data()};
  const T* const group_high[3] = {to.groups.high[0].data(), to.groups.high[1].data(), to.groups.high[2].data()};
  const T* const block_low[3] = {to.blocks.low[0].data(), to.blocks.low[1].data(), to.blocks.low[2].data()};
  const T* const block_high[3] = {to.blocks.high[0].data(), to.blocks.high[1].data(), to.blocks.high[2].data()};
  visit(q, cx, cy, cz, row, seed);
  T reach = worst(q);
  T group_bound[kLanes], block_bound[kLanes];
  for (int64_t first = 0; first < to.groups.count; first += kLanes) {
    bounds(q, group_low, group_high, first, group_bound);
    for (int64_t g = 0; g < std::min(kLanes, to.groups.count - first); ++g) {
      if (group_bound[g] > reach) continue;
      const int64_t begin = (first + g) * kLanes;
      bounds(q, block_low, block_high, begin, block_bound);
      for (int64_t b = 0; b < std::min(kLanes, to.blocks.count - begin); ++b) {
        if (block_bound[b] > reach || begin + b == seed) continue;
        visit(q, cx, cy, cz, row, begin + b);
        reach = worst(q);
      }
    }
  }
}

MAE3D_SIMD inline void all_pairs(const float* qx, const float* qy, const float* qz, int64_t queries, const float* cx,
                                 const float* cy, const float* cz, int64_t candidates, float* best, int32_t* partner) {
  all_pairs_body(qx, qy, qz, queries, cx, cy, cz, candidates, best, partner);
}
MAE3D_SIMD inline void all_pairs(const double* qx, const double* qy, const double* qz, int64_t queries,
                                 const double* cx, const double* cy, const double* cz, int64_t candidates,
                                 double* best, int32_t* partner) {
  all_pairs_body(qx, qy, qz, queries, cx, cy, cz, candidates, best, partner);
}
MAE3D_SIMD inline void search(Queries<float>& q, const SortedCloud<float>& to, int64_t seed) {
  search_body(q, to, seed);
}
MAE3D_SIMD inline void search(Queries<double>& q, const SortedCloud<double>& to, int64_t seed) {
  search_body(q, to, seed);
}

// Blocks [begin, end) of `from`; best and partner (a row of `to`) are stored in the sorted order of `from`.
template <typename T>
void search_blocks(const SortedCloud<T>& from, const SortedCloud<T>& to, int64_t begin, int64_t end, T* best,
                   int32_t* partner) {
  Queries<T> q;
  const auto code_end = to.code.begin() + to.points.count;
  for (int64_t block = begin; block < end; ++block) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const int64_t i = block * kLanes + l;
      q.x[l] = from.points.x[i], q.y[l] = from.points.y[i], q.z[l] = from.points.z[i];
      q.best[l] = std::numeric_limits<T>::infinity(), q.partner[l] = -1;
    }
    for (int k = 0; k < 3; ++k) q.low[k] = from.blocks.low[k][block], q.high[k] = from.blocks.high[k][block];
    const auto near = std::lower_bound(to.code.begin(), code_end, from.code[block * kLanes + kLanes / 2]);
    search(q, to, std::min<int64_t>(near - to.code.begin(), to.points.count - 1) / kLanes);
    std::copy(q.best, q.best + kLanes, best + block * kLanes);
    std::copy(q.partner, q.partner + kLanes, partner + block * kLanes);
  }
}

}  // namespace mae3d::chamfer
