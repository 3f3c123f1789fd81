// CPU voxelisation: keys by SIMD, then an open-addressing hash that maps every point to the first point of its
// cell. Threads own disjoint parts of the hash space, so the result does not depend on their number.
#include <cfloat>
#include <cstring>

#include "../common/divider.h"
#include "../common/radix_sort.h"
#include "../common/simd.h"
#include "voxelize.h"

namespace mae3d {
namespace {

constexpr int64_t kBlock = 128;
constexpr uint64_t kEmpty = ~uint64_t{0};

MAE3D_INLINE float cell_index(float p, float low, float size, float cells, bool clamp) {
  const float index = std::floor((p - low) / size);
  return clamp ? std::min(std::max(index, 0.0f), cells - 1.0f) : index;
}

// Keys of rows [0, n); -1 where the point is dropped.
MAE3D_SIMD void cell_keys(const float* points, int64_t stride, int64_t n, const VoxelGeometry& g, int64_t base,
                          int64_t* keys) {
  float x[kBlock], y[kBlock], z[kBlock];
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t m = std::min(kBlock, n - start);
    const float* p = points + start * stride;
    for (int64_t i = 0; i < m; ++i, p += stride) x[i] = p[0], y[i] = p[1], z[i] = p[2];
    int64_t* out = keys + start;
    for (int64_t i = 0; i < m; ++i) {
      const float ix = cell_index(x[i], g.low[0], g.size[0], g.cells[0], g.clamp);
      const float iy = cell_index(y[i], g.low[1], g.size[1], g.cells[1], g.clamp);
      const float iz = cell_index(z[i], g.low[2], g.size[2], g.cells[2], g.clamp);
      const bool finite = (std::fabs(x[i]) <= FLT_MAX) & (std::fabs(y[i]) <= FLT_MAX) & (std::fabs(z[i]) <= FLT_MAX);
      const bool inside = (ix >= 0) & (ix < g.cells[0]) & (iy >= 0) & (iy < g.cells[1]) & (iz >= 0) & (iz < g.cells[2]);
      const bool keep = finite & inside;
      const int64_t cx = static_cast<int32_t>(keep ? ix : 0.0f);
      const int64_t cy = static_cast<int32_t>(keep ? iy : 0.0f);
      const int64_t cz = static_cast<int32_t>(keep ? iz : 0.0f);
      const int64_t key = base + (cz * g.grid[1] + cy) * g.grid[0] + cx;
      out[i] = keep ? key : -1;
    }
  }
}

MAE3D_INLINE uint64_t mix(uint64_t key) {
  key ^= key >> 32;
  key *= 0x9E3779B97F4A7C15u;
  key ^= key >> 29;
  return key * 0xBF58476D1CE4E5B9u;
}

MAE3D_SIMD void mix_block(const int64_t* keys, int64_t n, uint64_t* hashes) {
  for (int64_t i = 0; i < n; ++i) hashes[i] = mix(static_cast<uint64_t>(keys[i]));
}

// Key -> first row, for the keys whose hash starts with the bits of one part. An entry holds the low half of the
// hash and the row; the full key is compared at that row, which is nearly always a hit.
class FirstRowTable {
 public:
  FirstRowTable(const int64_t* keys, int64_t expected, int part_bits)
      : keys_(keys), part_bits_(part_bits), bits_(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(expected, 64)))) {
    clear();
  }

  void prefetch(uint64_t hash) const { __builtin_prefetch(&entries_[slot(hash)]); }

  // Row of the first insertion of `key`.
  int32_t insert(int64_t key, uint64_t hash, int32_t row) {
    const uint64_t mask = (uint64_t{1} << bits_) - 1;
    for (uint64_t s = slot(hash);; s = (s + 1) & mask) {
      const uint64_t entry = entries_[s];
      if (entry == kEmpty) {
        entries_[s] = hash << 32 | static_cast<uint32_t>(row);
        if (++used_ > limit_) grow();
        return row;
      }
      const auto first = static_cast<int32_t>(entry & 0x7fffffffu);
      if (entry >> 32 == (hash & 0xffffffffu) && keys_[first] == key) return first;
    }
  }

 private:
  uint64_t slot(uint64_t hash) const { return (hash << part_bits_) >> (64 - bits_); }

  void clear() {
    const int64_t capacity = int64_t{1} << bits_;
    entries_ = make_buffer<uint64_t>(capacity);
    std::memset(entries_.get(), 0xff, static_cast<size_t>(capacity) * sizeof(uint64_t));
    limit_ = capacity / 8 * 5;
  }

  void grow() {
    const Buffer<uint64_t> old = std::move(entries_);
    const int64_t capacity = int64_t{1} << bits_;
    ++bits_;
    clear();
    const uint64_t mask = (uint64_t{1} << bits_) - 1;
    for (int64_t i = 0; i < capacity; ++i) {
      if (old[i] == kEmpty) continue;
      uint64_t s = slot(mix(static_cast<uint64_t>(keys_[old[i] & 0x7fffffffu])));
      while (entries_[s] != kEmpty) s = (s + 1) & mask;
      entries_[s] = old[i];
    }
  }

  const int64_t* keys_;
  int part_bits_, bits_;
  int64_t used_ = 0, limit_ = 0;
  Buffer<uint64_t> entries_;
};

// Points grouped by cell, in terms of the first point of each cell.
struct Groups {
  int64_t rows = 0, voxels = 0;
  Buffer<int64_t> keys;   // [rows] cell key, -1 dropped
  Buffer<int32_t> first;  // [rows] first row of the same cell, -1 dropped
  Buffer<int32_t> count;  // [rows] points of the cell, defined at first rows only
  Buffer<int32_t> rank;   // [rows] number of earlier points in the same cell; only when asked for
  Buffer<int32_t> firsts;      // [voxels] the first row of each voxel, ascending until sorted by key
  Buffer<int64_t> voxel_keys;  // [voxels] the key of each voxel
  std::vector<int64_t> voxel_offsets;  // [B + 1]
};

void find_first_rows(Groups& g, bool with_rank) {
  const int64_t wanted = std::clamp<int64_t>(g.rows / 8192, 1, num_threads());
  const int part_bits = std::bit_width(static_cast<uint64_t>(wanted)) - 1;
  parallel_tasks(int64_t{1} << part_bits, [&](int64_t part) {
    FirstRowTable table(g.keys.get(), g.rows >> part_bits, part_bits);
    uint64_t hashes[kBlock], own_hash[kBlock];
    int32_t own[kBlock];
    for (int64_t start = 0; start < g.rows; start += kBlock) {
      const int64_t m = std::min(kBlock, g.rows - start);
      mix_block(g.keys.get() + start, m, hashes);
      int64_t n = 0;
      for (int64_t i = 0; i < m; ++i) {
        own[n] = static_cast<int32_t>(start + i);
        own_hash[n] = hashes[i];
        const bool mine = (hashes[i] >> 1 >> (63 - part_bits)) == static_cast<uint64_t>(part);
        n += mine & (g.keys[start + i] >= 0);
      }
      for (int64_t j = 0; j < n; ++j) table.prefetch(own_hash[j]);
      for (int64_t j = 0; j < n; ++j) {
        const int32_t row = own[j];
        const int32_t first = table.insert(g.keys[row], own_hash[j], row);
        g.first[row] = first;
        if (first == row) g.count[row] = 0;
        const int32_t rank = g.count[first]++;
        if (with_rank) g.rank[row] = rank;
      }
    }
  });
}

// Lists the first rows in ascending order: chunks count, then write at their place.
void list_first_rows(Groups& g, const int64_t* offsets, int64_t clouds) {
  const int64_t chunks = std::clamp<int64_t>(g.rows / 16384, 1, num_threads());
  std::vector<int64_t> begin(static_cast<size_t>(chunks) + 1, 0);
  const auto bound = [&](int64_t c) { return g.rows * c / chunks; };
  parallel_tasks(chunks, [&](int64_t c) {
    int64_t n = 0;
    for (int64_t i = bound(c); i < bound(c + 1); ++i) n += g.first[i] == i;
    begin[static_cast<size_t>(c) + 1] = n;
  });
  for (int64_t c = 0; c < chunks; ++c) begin[c + 1] += begin[c];
  g.voxels = begin[chunks];
  g.firsts = make_buffer<int32_t>(g.voxels + 1);  // one spare: the branch-free loop writes one past the last
  parallel_tasks(chunks, [&](int64_t c) {
    const int64_t end = begin[static_cast<size_t>(c) + 1];
    for (int64_t i = bound(c), n = begin[static_cast<size_t>(c)]; i < bound(c + 1) && n < end; ++i) {
      g.firsts[n] = static_cast<int32_t>(i);
      n += g.first[i] == i;
    }
  });
  g.voxel_keys = make_buffer<int64_t>(g.voxels);
  parallel_for(0, g.voxels, 16384, [&](int64_t from, int64_t to) {
    for (int64_t v = from; v < to; ++v) g.voxel_keys[v] = g.keys[g.firsts[v]];
  });
  for (int64_t b = 0; b <= clouds; ++b)
    g.voxel_offsets.push_back(std::lower_bound(g.firsts.get(), g.firsts.get() + g.voxels, offsets[b]) - g.firsts.get());
}

Groups group_points(const Tensor& points, const Tensor& offsets, const VoxelGeometry& geometry, bool with_rank) {
  Groups g;
  g.rows = points.size(0);
  g.keys = make_buffer<int64_t>(g.rows);
  g.first = make_buffer<int32_t>(g.rows);
  g.count = make_buffer<int32_t>(g.rows);
  if (with_rank) g.rank = make_buffer<int32_t>(g.rows);
  const int64_t width = points.size(1), clouds = offsets.size(0) - 1;
  const float* p = cdata<float>(points);
  const int64_t* o = cdata<int64_t>(offsets);
  parallel_for(0, g.rows, 8192, [&](int64_t begin, int64_t end) {
    std::fill(g.first.get() + begin, g.first.get() + end, -1);
    int64_t cloud = std::upper_bound(o, o + clouds + 1, begin) - o - 1;
    for (int64_t row = begin; row < end; ++cloud) {
      const int64_t stop = std::min(end, o[cloud + 1]);
      cell_keys(p + row * width, width, stop - row, geometry, cloud * geometry.per_cloud(), g.keys.get() + row);
      row = stop;
    }
  });
  find_first_rows(g, with_rank);
  list_first_rows(g, o, clouds);
  return g;
}

// (cloud, z, y, x) of keys below kDividerLimit.
MAE3D_SIMD void decode_keys(const int64_t* keys, int64_t n, const VoxelGeometry& g, int64_t* out) {
  const Divider by_x(g.grid[0]), by_y(g.grid[1]), by_z(g.grid[2]);
  int64_t x[kBlock], y[kBlock], z[kBlock], cloud[kBlock];
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t m = std::min(kBlock, n - start);
    const int64_t* in = keys + start;
#pragma omp simd
    for (int64_t i = 0; i < m; ++i) cloud[i] = by_z.split(by_y.split(by_x.split(in[i], x[i]), y[i]), z[i]);
    int64_t* to = out + 4 * start;
    for (int64_t i = 0; i < m; ++i) {
      to[4 * i] = cloud[i];
      to[4 * i + 1] = z[i];
      to[4 * i + 2] = y[i];
      to[4 * i + 3] = x[i];
    }
  }
}

void write_coordinates(const Groups& groups, int64_t n, const VoxelGeometry& g, int64_t clouds, int64_t* out) {
  const int64_t* keys = groups.voxel_keys.get();
  parallel_for(0, n, 8192, [&](int64_t begin, int64_t end) {
    if (clouds * g.per_cloud() < kDividerLimit) return decode_keys(keys + begin, end - begin, g, out + 4 * begin);
    for (int64_t v = begin; v < end; ++v) {
      const int64_t row = keys[v] / g.grid[0], layer = row / g.grid[1];
      out[4 * v] = layer / g.grid[2];
      out[4 * v + 1] = layer % g.grid[2];
      out[4 * v + 2] = row % g.grid[1];
      out[4 * v + 3] = keys[v] % g.grid[0];
    }
  });
}

// Sorts the first rows by key. Item: how key and row travel together.
template <typename Item, typename Join, typename KeyOf, typename RowOf>
void sort_items(Groups& g, int key_bits, const Join& join, const KeyOf& key_of, const RowOf& row_of) {
  const auto items = make_buffer<Item>(g.voxels), spare = make_buffer<Item>(g.voxels);
  parallel_for(0, g.voxels, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v)
      items[v] = join(static_cast<uint64_t>(g.voxel_keys[v]), static_cast<uint64_t>(g.firsts[v]));
  });
  const Item* sorted = radix_sort(items.get(), spare.get(), g.voxels, key_bits, key_of);
  parallel_for(0, g.voxels, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      g.firsts[v] = static_cast<int32_t>(row_of(sorted[v]));
      g.voxel_keys[v] = static_cast<int64_t>(key_of(sorted[v]));
    }
  });
}

void sort_first_rows(Groups& g, int64_t clouds, const VoxelGeometry& geometry) {
  const int key_bits = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(clouds * geometry.per_cloud() - 1, 1)));
  const int row_bits = std::bit_width(static_cast<uint64_t>(g.rows));
  if (key_bits + row_bits <= 64) {  // both in one integer: half the memory traffic
    const uint64_t row_mask = (uint64_t{1} << row_bits) - 1;
    return sort_items<uint64_t>(
        g, key_bits, [&](uint64_t key, uint64_t row) { return key << row_bits | row; },
        [&](uint64_t item) { return item >> row_bits; }, [&](uint64_t item) { return item & row_mask; });
  }
  sort_items<KeyedRow>(
      g, key_bits, [](uint64_t key, uint64_t row) { return KeyedRow{key, static_cast<int64_t>(row)}; },
      [](const KeyedRow& item) { return item.key; }, [](const KeyedRow& item) { return item.row; });
}

Tensor copy_offsets(const Tensor& like, const std::vector<int64_t>& offsets) {
  const Tensor out = make_empty(like, {static_cast<int64_t>(offsets.size())}, ScalarType::Long);
  std::copy(offsets.begin(), offsets.end(), mdata<int64_t>(out));
  return out;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> voxelize(const Tensor& points, const Tensor& offsets,
                                                    std::vector<double> size, std::vector<double> low,
                                                    std::vector<int64_t> grid, bool clamp, bool sorted) {
  const VoxelGeometry geometry = check_voxel_arguments(points, offsets, size, low, grid, clamp, "voxelize");
  const Tensor p = as_contiguous(points), o = as_contiguous(offsets);
  const int64_t clouds = o.size(0) - 1;
  Groups g = group_points(p, o, geometry, false);
  if (sorted) sort_first_rows(g, clouds, geometry);

  const Tensor coordinates = make_empty(p, {g.voxels, 4}, ScalarType::Long);
  const Tensor point_to_voxel = make_empty(p, {g.rows}, ScalarType::Long);
  const Tensor counts = make_empty(p, {g.voxels}, ScalarType::Long);
  write_coordinates(g, g.voxels, geometry, clouds, mdata<int64_t>(coordinates));
  int64_t* count = mdata<int64_t>(counts);
  parallel_for(0, g.voxels, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      const int32_t first = g.firsts[v];
      count[v] = g.count[first];
      g.count[first] = static_cast<int32_t>(v);  // the count is taken: its place now holds the voxel's number
    }
  });
  int64_t* to_voxel = mdata<int64_t>(point_to_voxel);
  parallel_for(0, g.rows, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to_voxel[i] = g.first[i] < 0 ? -1 : g.count[g.first[i]];
  });
  return {coordinates, point_to_voxel, counts, copy_offsets(p, g.voxel_offsets)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> voxelize_hard(const Tensor& points, const Tensor& offsets,
                                                                 std::vector<double> size, std::vector<double> low,
                                                                 std::vector<int64_t> grid, int64_t max_points,
                                                                 int64_t max_voxels) {
  const VoxelGeometry geometry = check_voxel_arguments(points, offsets, size, low, grid, false, "voxelize_hard");
  MAE3D_CHECK(max_points >= 1, "voxelize_hard: 'max_points' must be at least 1, got ", max_points);
  MAE3D_CHECK(max_voxels >= 1, "voxelize_hard: 'max_voxels' must be at least 1, got ", max_voxels);
  const Tensor p = as_contiguous(points), o = as_contiguous(offsets);
  const int64_t clouds = o.size(0) - 1, width = p.size(1);
  Groups g = group_points(p, o, geometry, true);

  std::vector<int64_t> kept_offsets{0};
  for (int64_t b = 0; b < clouds; ++b) {
    const int64_t from = g.voxel_offsets[b], found = g.voxel_offsets[b + 1] - from, kept = std::min(found, max_voxels);
    for (int64_t v = from + kept; v < from + found; ++v) g.count[g.firsts[v]] = -1;
    std::copy_n(g.firsts.get() + from, kept, g.firsts.get() + kept_offsets.back());
    std::copy_n(g.voxel_keys.get() + from, kept, g.voxel_keys.get() + kept_offsets.back());
    kept_offsets.push_back(kept_offsets.back() + kept);
  }
  const int64_t total = kept_offsets.back();

  const Tensor voxels = make_empty(p, {total, max_points, width}, ScalarType::Float);
  const Tensor coordinates = make_empty(p, {total, 4}, ScalarType::Long);
  const Tensor counts = make_empty(p, {total}, ScalarType::Long);
  const Tensor point_to_slot = make_empty(p, {g.rows}, ScalarType::Long);
  write_coordinates(g, total, geometry, clouds, mdata<int64_t>(coordinates));
  int64_t* count = mdata<int64_t>(counts);
  float* out = mdata<float>(voxels);
  parallel_for(0, total, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      const int32_t first = g.firsts[v];
      count[v] = std::min<int64_t>(g.count[first], max_points);
      g.count[first] = static_cast<int32_t>(v);
      float* row = out + v * max_points * width;
      std::fill(row + count[v] * width, row + max_points * width, 0.0f);
    }
  });
  const float* in = cdata<float>(p);
  int64_t* slot = mdata<int64_t>(point_to_slot);
  parallel_for(0, g.rows, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t voxel = g.first[i] < 0 ? -1 : g.count[g.first[i]];
      const bool kept = voxel >= 0 && g.rank[i] < max_points;
      slot[i] = kept ? voxel * max_points + g.rank[i] : -1;
      if (kept) std::copy_n(in + i * width, width, out + slot[i] * width);
    }
  });
  return {voxels, coordinates, counts, copy_offsets(p, kept_offsets), point_to_slot};
}

Tensor voxelize_hard_backward(const Tensor& grad_voxels, const Tensor& point_to_slot) {
  check_hard_backward(grad_voxels, point_to_slot);
  const Tensor grad = as_contiguous(grad_voxels), slots = as_contiguous(point_to_slot);
  const int64_t rows = slots.size(0), width = grad.size(2), total = grad.size(0) * grad.size(1);
  const Tensor out = make_empty(grad, {rows, width}, ScalarType::Float);
  const float* in = cdata<float>(grad);
  const int64_t* slot = cdata<int64_t>(slots);
  float* result = mdata<float>(out);
  parallel_for(0, rows, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (slot[i] >= 0 && slot[i] < total)
        std::copy_n(in + slot[i] * width, width, result + i * width);
      else
        std::fill_n(result + i * width, width, 0.0f);
    }
  });
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("voxelize", TORCH_BOX(&voxelize));
  m.impl("voxelize_hard", TORCH_BOX(&voxelize_hard));
  m.impl("voxelize_hard_backward", TORCH_BOX(&voxelize_hard_backward));
}

}  // namespace mae3d
