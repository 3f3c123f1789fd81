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

// Points in structure-of-arrays form, in blocks of kBlock; places left over are NaN, which nothing is near to.
struct Blocks {
  void resize(size_t blocks) {
    count = blocks;
    for (auto& axis : xyz) axis.assign(count * kBlock, std::numeric_limits<float>::quiet_NaN());
    ids.assign(count * kBlock, std::numeric_limits<int32_t>::max());
  }
  void set(size_t i, const float* p, int32_t id) {
    xyz[0][i] = p[0], xyz[1][i] = p[1], xyz[2][i] = p[2], ids[i] = id;
  }
  size_t count = 0;
  std::vector<float> xyz[3];
  std::vector<int32_t> ids;
};

// Bounding boxes; those that nothing was put into are at infinite distance.
struct Boxes {
  explicit Boxes(size_t count) : child(count), first_id(count, std::numeric_limits<int32_t>::max()) {
    for (auto& axis : low) axis.assign(count, std::numeric_limits<float>::infinity());
    for (auto& axis : high) axis.assign(count, -std::numeric_limits<float>::infinity());
  }
  void merge(size_t box, const Boxes& from, size_t other) {
    for (int a = 0; a < 3; ++a) {
      low[a][box] = std::min(low[a][box], from.low[a][other]);
      high[a][box] = std::max(high[a][box], from.high[a][other]);
    }
    first_id[box] = std::min(first_id[box], from.first_id[other]);
  }
  void set(size_t box, const Boxes& from, size_t other) {
    merge(box, from, other);
    child[box] = static_cast<int32_t>(other);
  }
  void add_block(size_t block, const Blocks& blocks) {
    for (size_t i = block * kBlock; i < (block + 1) * kBlock; ++i) {
      for (int a = 0; a < 3; ++a) {  // written so that the NaN that fills a block is passed over
        low[a][block] = blocks.xyz[a][i] < low[a][block] ? blocks.xyz[a][i] : low[a][block];
        high[a][block] = blocks.xyz[a][i] > high[a][block] ? blocks.xyz[a][i] : high[a][block];
      }
      first_id[block] = std::min(first_id[block], blocks.ids[i]);
    }
  }
  // Lower bound of the squared distance to any point inside, exact in the kernels' rounding.
  float distance(size_t box, const float q[3]) const {
    float side[3];
    for (int a = 0; a < 3; ++a) side[a] = std::max(std::max(low[a][box] - q[a], q[a] - high[a][box]), 0.0f);
    return squared_distance(side[0], side[1], side[2], 0, 0, 0);
  }
  std::vector<float> low[3], high[3];
  std::vector<int32_t> child;     // block, or group of kFanout boxes of the level below
  std::vector<int32_t> first_id;  // lowest point index inside
};

class Grid {
 public:
  // Points with a non-finite coordinate are left out. n must be below kMaxPoints.
  void build(const float* xyz, int64_t n) {
    std::vector<int32_t> order = finite_ids(xyz, n);
    const size_t count = order.size();
    std::vector<int32_t> spare(count);
    std::vector<uint8_t> jump(count);
    sort_cells({xyz, order.data(), spare.data(), jump.data(), count, 0}, root);
    const std::vector<size_t> begin = cut(jump.data(), count, kBlock);
    fill_blocks(xyz, order, begin);
    build_boxes(begin, jump);
  }
  // Blocks alone, in the points' own order: for clouds that are scanned whole.
  void build_flat(const float* xyz, int64_t n) {
    levels.clear();
    const std::vector<int32_t> order = finite_ids(xyz, n);
    std::vector<size_t> begin;
    for (size_t i = 0; i < order.size(); i += kBlock) begin.push_back(i);
    begin.push_back(order.size());
    fill_blocks(xyz, order, begin);
  }

  Blocks blocks;
  std::vector<Boxes> levels;  // [0]: one box per block; the last has at most kFanout boxes; none if built flat
  CellCode root;              // coarsest grid: gives queries the order of the blocks

 private:
  // A run of points to be ordered. jump[i] tells how far apart in the grid points i - 1 and i are.
  struct Run {
    const float* xyz;
    int32_t *ids, *spare;
    uint8_t* jump;
    size_t size;
    int depth;
  };

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

  // Orders a run by cell (equal cells by rising id), then orders each crowded cell in the same way.
  static void sort_cells(const Run& run, CellCode& code) {
    const size_t n = run.size;
    float lo[3], hi[3];
    for (int a = 0; a < 3; ++a) lo[a] = std::numeric_limits<float>::max(), hi[a] = -lo[a];
    for (size_t i = 0; i < n; ++i)
      for (int a = 0; a < 3; ++a) {
        const float v = run.xyz[3 * static_cast<int64_t>(run.ids[i]) + a];
        lo[a] = std::min(lo[a], v), hi[a] = std::max(hi[a], v);
      }
    int bits = 0;
    while (bits < kMaxGridBits && (size_t{1} << bits) < n * 2) ++bits;
    code.fit(lo, hi, bits);
    if (code.total == 0) return;  // all points are equal, or there are hardly any
    std::vector<uint32_t> start((size_t{1} << code.total) + 1), cell(n);
    for (size_t i = 0; i < n; ++i) ++start[(cell[i] = code(run.xyz + 3 * static_cast<int64_t>(run.ids[i]))) + 1];
    for (size_t c = 1; c < start.size(); ++c) start[c] += start[c - 1];
    for (size_t i = 0; i < n; ++i) run.spare[start[cell[i]]++] = run.ids[i];  // start[c] becomes the end of cell c
    std::memcpy(run.ids, run.spare, n * sizeof(int32_t));
    std::vector<uint32_t>().swap(cell);
    const int level = std::max(0, 224 - 32 * run.depth);
    size_t begin = 0, before = 0;
    for (size_t c = 0; c + 1 < start.size(); ++c) {
      const size_t end = start[c];
      if (end == begin) continue;
      if (begin > 0) run.jump[begin] = static_cast<uint8_t>(level + 32 - __builtin_clz(static_cast<uint32_t>(c ^ before)));
      before = c;
      if (end - begin > kBlock) {
        CellCode inner;
        sort_cells({run.xyz, run.ids + begin, run.spare + begin, run.jump + begin, end - begin, run.depth + 1}, inner);
      }
      begin = end;
    }
  }

  // Cuts a sequence into groups of at most `most`, at the widest jumps that keep groups at least half full.
  static std::vector<size_t> cut(const uint8_t* jump, size_t n, size_t most) {
    std::vector<size_t> begin;
    for (size_t at = 0; at < n;) {
      begin.push_back(at);
      if (n - at <= most) break;
      size_t best = at + most / 2;
      for (size_t i = best + 1; i <= at + most; ++i)
        if (jump[i] >= jump[best]) best = i;
      at = best;
    }
    begin.push_back(n);
    return begin;
  }

  void fill_blocks(const float* xyz, const std::vector<int32_t>& order, const std::vector<size_t>& begin) {
    blocks.resize(begin.size() - 1);
    for (size_t b = 0; b + 1 < begin.size(); ++b)
      for (size_t i = begin[b]; i < begin[b + 1]; ++i)
        blocks.set(b * kBlock + (i - begin[b]), xyz + 3 * static_cast<int64_t>(order[i]), order[i]);
  }

  void build_boxes(const std::vector<size_t>& begin, const std::vector<uint8_t>& jump) {
    levels.clear();
    Boxes flat(blocks.count);
    std::vector<uint8_t> wide(blocks.count);
    for (size_t b = 0; b < blocks.count; ++b) {
      flat.add_block(b, blocks);
      wide[b] = jump[begin[b]];
    }
    while (true) {
      const std::vector<size_t> group = cut(wide.data(), wide.size(), kFanout);
      const size_t groups = group.size() - 1;
      levels.emplace_back(groups * kFanout);
      Boxes merged(groups);
      for (size_t g = 0; g < groups; ++g) {
        for (size_t i = group[g]; i < group[g + 1]; ++i) {
          levels.back().set(g * kFanout + (i - group[g]), flat, i);
          merged.merge(g, flat, i);
        }
        wide[g] = wide[group[g]];
      }
      if (groups <= 1) return;
      wide.resize(groups);
      flat = std::move(merged);
    }
  }
};

}  // namespace mae3d
