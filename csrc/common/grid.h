// The spatial index of the CPU searches: a uniform grid in Morton order, cut into blocks of equal size.
//
// Points are counting-sorted into the cells of a grid with about four points per cell; long axes get more cells than
// short ones, so planar and elongated clouds need no special case. A crowded cell is gridded again by the same
// routine, which keeps outliers, far coordinates and the falling density of a sensor from spoiling it. The ordered
// points are then cut into blocks of 32 with bounding boxes, and 16 boxes make one of the next level, so a search is a
// walk over full SIMD vectors and never meets an empty cell. Building is linear in the number of points.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "geometry.h"
#include "simd.h"

namespace mae3d {

constexpr int32_t kBlock = 32;   // points per block
constexpr int32_t kFanout = 16;  // boxes per box of the next level
constexpr int32_t kMaxGridBits = 22;
constexpr int64_t kMaxPoints = (int64_t{1} << 31) - 64;  // per cloud: block positions and ids are int32

inline bool finite_point(const float* p) {
  return (p[0] - p[0] == 0) & (p[1] - p[1] == 0) & (p[2] - p[2] == 0);
}

// Maps a point to its cell of one grid: the bits of the axes' cell numbers, longest axis first, interleaved.
struct CellCode {
  // Chooses up to `bits` halvings of the box [lo, hi], always of the axis whose cells are longest.
  void fit(const float lo[3], const float hi[3], int bits) {
    double extent[3];
    int order[kMaxGridBits], used[3] = {0, 0, 0};
    for (int a = 0; a < 3; ++a) origin[a] = lo[a], extent[a] = static_cast<double>(hi[a]) - lo[a];
    double left[3] = {extent[0], extent[1], extent[2]};
    total = 0;
    while (total < bits) {
      const int a = left[0] >= left[1] ? (left[0] >= left[2] ? 0 : 2) : (left[1] >= left[2] ? 1 : 2);
      if (!(left[a] > 0) || used[a] == 16) break;
      order[total++] = a, ++used[a], left[a] *= 0.5;
    }
    for (int a = 0; a < 3; ++a) {
      last[a] = (1 << used[a]) - 1;
      scale[a] = extent[a] > 0 ? (1 << used[a]) / extent[a] : 0.0;
      uint32_t place[16];  // value of each bit of this axis's cell number, lowest bit first
      for (int t = total - 1, bit = 0; t >= 0; --t)
        if (order[t] == a) place[bit++] = 1u << (total - 1 - t);
      table[a][0][0] = table[a][1][0] = 0;
      for (int i = 1; i <= std::min(last[a], 255); ++i)
        table[a][0][i] = table[a][0][i & (i - 1)] | place[__builtin_ctz(i)];
      for (int i = 1; i <= last[a] >> 8; ++i)
        table[a][1][i] = table[a][1][i & (i - 1)] | place[8 + __builtin_ctz(i)];
    }
  }
  // Cell of a point with finite coordinates; points outside the box belong to its border cells.
  uint32_t operator()(const float* p) const {
    uint32_t code = 0;
    for (int a = 0; a < 3; ++a) {
      const double cell = std::min(std::max((p[a] - origin[a]) * scale[a], 0.0), static_cast<double>(last[a]));
      const uint32_t c = static_cast<uint32_t>(cell);
      code |= table[a][0][c & 255] | table[a][1][c >> 8];
    }
    return code;
  }
  double origin[3], scale[3];
  int last[3], total = 0;
  uint32_t table[3][2][256];
};

// Boxes of one level, padded to a multiple of kFanout by boxes at infinite distance.
struct Boxes {
  explicit Boxes(size_t count = 0) : size(count) {
    const size_t padded = (count + kFanout - 1) / kFanout * kFanout;
    for (int a = 0; a < 3; ++a) {
      low[a].assign(padded, std::numeric_limits<float>::infinity());
      high[a].assign(padded, -std::numeric_limits<float>::infinity());
    }
    first_id.assign(padded, std::numeric_limits<int32_t>::max());
  }
  void add(size_t box, const Boxes& from, size_t child) {
    for (int a = 0; a < 3; ++a) {
      low[a][box] = std::min(low[a][box], from.low[a][child]);
      high[a][box] = std::max(high[a][box], from.high[a][child]);
    }
    first_id[box] = std::min(first_id[box], from.first_id[child]);
  }
  // Lower bound of the squared distance to any point inside, exact in the kernels' rounding.
  float distance(size_t box, const float q[3]) const {
    float side[3];
    for (int a = 0; a < 3; ++a) side[a] = std::max(std::max(low[a][box] - q[a], q[a] - high[a][box]), 0.0f);
    return squared_distance(side[0], side[1], side[2], 0, 0, 0);
  }
  size_t size;
  std::vector<float> low[3], high[3];
  std::vector<int32_t> first_id;  // lowest point index inside
};

// Points in structure-of-arrays form, in blocks of kBlock; the last block is filled with NaN, which nothing is near to.
struct Blocks {
  void resize(size_t points) {
    count = (points + kBlock - 1) / kBlock;
    for (auto& axis : xyz) axis.resize(count * kBlock);
    ids.resize(count * kBlock);
    for (size_t i = points; i < count * kBlock; ++i) {
      for (auto& axis : xyz) axis[i] = std::numeric_limits<float>::quiet_NaN();
      ids[i] = std::numeric_limits<int32_t>::max();
    }
  }
  void set(size_t i, const float* p, int32_t id) {
    xyz[0][i] = p[0], xyz[1][i] = p[1], xyz[2][i] = p[2], ids[i] = id;
  }
  size_t count = 0;
  std::vector<float> xyz[3];
  std::vector<int32_t> ids;
};

class Grid {
 public:
  // Points with a non-finite coordinate are left out. n must be below kMaxPoints.
  void build(const float* xyz, int64_t n) {
    std::vector<int32_t> order = finite_ids(xyz, n), spare(order.size());
    sort_cells(xyz, order.data(), spare.data(), order.size(), root);
    fill_blocks(xyz, order);
    build_boxes(order.size());
  }
  // Blocks alone, in the points' own order: for clouds that are scanned whole.
  void build_flat(const float* xyz, int64_t n) {
    levels.clear();
    fill_blocks(xyz, finite_ids(xyz, n));
  }

  Blocks blocks;
  std::vector<Boxes> levels;  // [0]: one box per block; the last has at most kFanout boxes; none if built flat
  CellCode root;              // coarsest grid: gives queries the order of the blocks

 private:
  static std::vector<int32_t> finite_ids(const float* xyz, int64_t n) {
    std::vector<int32_t> ids(n);
    size_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
      ids[count] = static_cast<int32_t>(i);
      count += finite_point(xyz + 3 * i);
    }
    ids.resize(count);
    return ids;
  }

  void fill_blocks(const float* xyz, const std::vector<int32_t>& order) {
    blocks.resize(order.size());
    for (size_t i = 0; i < order.size(); ++i) blocks.set(i, xyz + 3 * static_cast<int64_t>(order[i]), order[i]);
  }

  // Orders ids by cell (equal cells by rising id), then orders each crowded cell in the same way.
  static void sort_cells(const float* xyz, int32_t* ids, int32_t* spare, size_t n, CellCode& code) {
    float lo[3], hi[3];
    for (int a = 0; a < 3; ++a) lo[a] = std::numeric_limits<float>::max(), hi[a] = -lo[a];
    for (size_t i = 0; i < n; ++i)
      for (int a = 0; a < 3; ++a) {
        const float v = xyz[3 * static_cast<int64_t>(ids[i]) + a];
        lo[a] = std::min(lo[a], v), hi[a] = std::max(hi[a], v);
      }
    int bits = 0;
    while (bits < kMaxGridBits && (size_t{4} << bits) < n) ++bits;
    code.fit(lo, hi, bits);
    if (code.total == 0) return;  // all points are equal, or there are hardly any
    std::vector<uint32_t> start((size_t{1} << code.total) + 1), cell(n);
    for (size_t i = 0; i < n; ++i) ++start[(cell[i] = code(xyz + 3 * static_cast<int64_t>(ids[i]))) + 1];
    for (size_t c = 1; c < start.size(); ++c) start[c] += start[c - 1];
    for (size_t i = 0; i < n; ++i) spare[start[cell[i]]++] = ids[i];  // start[c] becomes the end of cell c
    std::memcpy(ids, spare, n * sizeof(int32_t));
    std::vector<uint32_t>().swap(cell);
    for (size_t c = 0, begin = 0; c + 1 < start.size(); begin = start[c++]) {
      if (start[c] - begin <= 2 * kBlock) continue;
      CellCode inner;
      sort_cells(xyz, ids + begin, spare + begin, start[c] - begin, inner);
    }
  }

  void build_boxes(size_t n) {
    levels.clear();
    levels.emplace_back(blocks.count);
    Boxes& leaf = levels[0];
    for (size_t i = 0; i < n; ++i) {
      const size_t b = i / kBlock;
      for (int a = 0; a < 3; ++a) {
        leaf.low[a][b] = std::min(leaf.low[a][b], blocks.xyz[a][i]);
        leaf.high[a][b] = std::max(leaf.high[a][b], blocks.xyz[a][i]);
      }
      leaf.first_id[b] = std::min(leaf.first_id[b], blocks.ids[i]);
    }
    while (levels.back().size > kFanout) {
      const Boxes& fine = levels.back();
      Boxes coarse((fine.size + kFanout - 1) / kFanout);
      for (size_t i = 0; i < fine.size; ++i) coarse.add(i / kFanout, fine, i);
      levels.push_back(std::move(coarse));
    }
  }
};

}  // namespace mae3d
