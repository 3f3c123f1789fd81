// Neighbour tables of sparse convolutions on the CPU, by an open-addressing hash of cell numbers.
#include <algorithm>
#include <bit>

#include "../common/parallel.h"
#include "../common/radix_sort.h"
#include "sparse_conv.h"

namespace mae3d::sparse_conv {
namespace {

constexpr const char* kSubmanifold = "sparse_conv_submanifold";
constexpr const char* kStrided = "sparse_conv_strided";
constexpr int64_t kBatch = 128;  // rows handled together, so that their cache misses overlap
constexpr uint64_t kMix = 0x9E3779B97F4A7C15ull;  // 2^64 / golden ratio

// Non-negative number -> int32, open addressing, at most half full.
class NumberTable {
 public:
  struct Slot {
    int64_t number;
    int32_t value;
  };

  explicit NumberTable(int64_t expected) { resize(std::bit_ceil(static_cast<uint64_t>(2 * expected + 64))); }

  void prefetch(int64_t number) const { __builtin_prefetch(&slots_[home(number)]); }

  // The slot of `number`, which holds -1 as its number while it is free.
  Slot& slot(int64_t number) {
    uint64_t at = home(number);
    while (slots_[at].number != -1 && slots_[at].number != number) at = (at + 1) & (slots_.size() - 1);
    return slots_[at];
  }

  int32_t find(int64_t number) const {
    for (uint64_t at = home(number); slots_[at].number != -1; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].number == number) return slots_[at].value;
    return -1;
  }

  // Makes room for `count` numbers in all.
  void reserve(uint64_t count) {
    if (2 * count <= slots_.size()) return;
    const std::vector<Slot> old = std::move(slots_);
    resize(std::bit_ceil(4 * count));
    for (const Slot& s : old)
      if (s.number != -1) slot(s.number) = s;
  }

 private:
  void resize(uint64_t size) {
    slots_.assign(size, Slot{-1, -1});
    shift_ = 64 - std::bit_width(size - 1);
  }
  uint64_t home(int64_t number) const { return (static_cast<uint64_t>(number) * kMix) >> shift_; }

  std::vector<Slot> slots_;
  int shift_ = 0;
};

// Nine of ten cells asked for are empty in a lidar scene: 16 bits a row, small enough for the caches, answer
// those. Cells of one run of 64 share a word.
class CellFilter {
 public:
  explicit CellFilter(int64_t rows)
      : words_(std::bit_ceil(static_cast<uint64_t>(rows / 4 + 64)), 0), shift_(64 - std::bit_width(words_.size() - 1)) {}
  void add(int64_t cell) { words_[word(cell)] |= uint64_t{1} << (cell & 63); }
  bool may_have(int64_t cell) const { return (words_[word(cell)] >> (cell & 63)) & 1; }

 private:
  uint64_t word(int64_t cell) const { return ((static_cast<uint64_t>(cell) >> 6) * kMix) >> shift_; }

  std::vector<uint64_t> words_;
  int shift_;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Row r of the coordinates as (batch, z, y, x), false where it lies outside the grid.
bool read_cell(const Geometry& g, const int32_t* coordinates, int64_t row, int64_t cell[4]) {
  const int32_t* c = coordinates + row * (g.axes + 1);
  cell[0] = c[0];
  bool inside = cell[0] >= 0 && cell[0] < g.batch;
  for (int64_t a = 0; a < 3; ++a) {
    const int64_t missing = 3 - g.axes;
    cell[a + 1] = a < missing ? 0 : c[1 + a - missing];
    inside = inside && cell[a + 1] >= 0 && cell[a + 1] < g.shape[a];
  }
  return inside;
}

Tensor submanifold(const Tensor& coordinates, std::vector<int64_t> spatial_shape, int64_t batch_size,
                   std::vector<int64_t> kernel_size, std::vector<int64_t> dilation, bool validate) {
  const std::vector<int64_t> ones(spatial_shape.size(), 1), zeros(spatial_shape.size(), 0);
  const Geometry g = read_geometry(kSubmanifold, coordinates, spatial_shape, batch_size, kernel_size, ones, zeros, dilation);
  const Tensor table = as_contiguous(coordinates);
  const int32_t* c = cdata<int32_t>(table);
  const int64_t rows = table.size(0), volume = g.volume();

  // Cells are numbered in a grid with a margin as wide as the kernel reaches: a neighbour outside the grid has
  // a number of its own, which no row has, so a neighbour is one addition away and needs no bounds check.
  int64_t margin[3], padded[3];
  for (int a = 0; a < 3; ++a) {
    margin[a] = g.kernel[a] / 2 * g.dilation[a];
    padded[a] = g.shape[a] + 2 * margin[a];
  }
  count_cells(kSubmanifold, g.batch, padded);
  std::vector<int64_t> cells(static_cast<size_t>(rows));
  NumberTable lookup(rows);
  CellFilter filter(rows);
  for (int64_t first = 0; first < rows; first += kBatch) {
    const int64_t last = std::min(first + kBatch, rows);
    for (int64_t r = first; r < last; ++r) {
      int64_t cell[4];
      const bool inside = read_cell(g, c, r, cell);
      if (!inside && validate) fail_outside(kSubmanifold, g, c + r * (g.axes + 1), r);
      cells[r] = !inside ? -1 : ((cell[0] * padded[0] + cell[1] + margin[0]) * padded[1] + cell[2] + margin[1]) *
                                        padded[2] + cell[3] + margin[2];
      lookup.prefetch(cells[r]);
    }
    for (int64_t r = first; r < last; ++r) {
      if (cells[r] < 0) continue;
      NumberTable::Slot& slot = lookup.slot(cells[r]);
      if (slot.number != -1) {
        if (validate) fail_repeated(kSubmanifold, slot.value, r);
        cells[r] = -1;
        continue;
      }
      slot = {cells[r], static_cast<int32_t>(r)};
      filter.add(cells[r]);
    }
  }

  std::vector<int64_t> step(static_cast<size_t>(volume));
  for (int64_t k = 0; k < volume; ++k) {
    const int64_t x = k % g.kernel[2] * g.dilation[2] - margin[2];
    const int64_t y = k / g.kernel[2] % g.kernel[1] * g.dilation[1] - margin[1];
    const int64_t z = k / (g.kernel[2] * g.kernel[1]) * g.dilation[0] - margin[0];
    step[k] = (z * padded[1] + y) * padded[2] + x;
  }
  Tensor gather = make_empty(coordinates, {volume, rows}, ScalarType::Int);
  int32_t* out = mdata<int32_t>(gather);
  // A mirrored kernel: a neighbour at offset k has this row at offset K - 1 - k, so half the questions suffice.
  const int64_t asked = is_mirrored(g) ? volume / 2 : volume;
  parallel_for(0, volume, 1, [&](int64_t b, int64_t e) { std::fill(out + b * rows, out + e * rows, -1); });
  parallel_for(0, ceil_div(rows, kBatch), 8, [&](int64_t b, int64_t e) {
    int32_t likely[kBatch];
    for (int64_t first = b * kBatch; first < std::min(e * kBatch, rows); first += kBatch) {
      const int64_t last = std::min(first + kBatch, rows);
      for (int64_t k = 0; k < asked; ++k) {
        int64_t count = 0;
        for (int64_t r = first; r < last; ++r) {  // branch-free: hits have no pattern
          likely[count] = static_cast<int32_t>(r);
          count += cells[r] >= 0 && filter.may_have(cells[r] + step[k]);
        }
        for (int64_t i = 0; i < count; ++i) lookup.prefetch(cells[likely[i]] + step[k]);
        for (int64_t i = 0; i < count; ++i) {
          const int32_t neighbour = lookup.find(cells[likely[i]] + step[k]);
          if (neighbour < 0) continue;
          out[k * rows + likely[i]] = neighbour;
          if (asked < volume) out[(volume - 1 - k) * rows + neighbour] = likely[i];
        }
      }
      if (asked == volume) continue;
      for (int64_t r = first; r < last; ++r)
        if (cells[r] >= 0) out[asked * rows + r] = static_cast<int32_t>(r);
    }
  });
  return gather;
}

std::tuple<Tensor, Tensor, Tensor> strided(const Tensor& coordinates, std::vector<int64_t> spatial_shape,
                                           int64_t batch_size, std::vector<int64_t> kernel_size,
                                           std::vector<int64_t> stride, std::vector<int64_t> padding,
                                           std::vector<int64_t> dilation, bool validate) {
  Geometry g = read_geometry(kStrided, coordinates, spatial_shape, batch_size, kernel_size, stride, padding, dilation);
  read_output_shape(kStrided, g);
  const int64_t cells = count_cells(kStrided, g.batch, g.output);
  count_cells(kStrided, g.batch, g.shape);
  const Tensor table = as_contiguous(coordinates);
  const int32_t* c = cdata<int32_t>(table);
  const int64_t rows = table.size(0), volume = g.volume();

  Tensor scatter = make_empty(coordinates, {volume, rows}, ScalarType::Int);
  int32_t* to = mdata<int32_t>(scatter);
  std::fill_n(to, volume * rows, -1);
  std::vector<int64_t> reached;  // output cells in order of arrival
  NumberTable arrival(rows);
  struct Reach {
    int64_t offset, cell;
  };
  struct Candidate {
    int64_t output, entry;
  };
  std::vector<Reach> reach[3];
  std::vector<Candidate> candidates;
  for (int64_t first = 0; first < rows; first += kBatch) {
    candidates.clear();
    for (int64_t r = first; r < std::min(first + kBatch, rows); ++r) {
      int64_t cell[4];
      if (!read_cell(g, c, r, cell)) {
        if (validate) fail_outside(kStrided, g, c + r * (g.axes + 1), r);
        continue;
      }
      for (int a = 0; a < 3; ++a) {
        reach[a].clear();
        for (int64_t k = 0; k < g.kernel[a]; ++k) {
          const int64_t at = cell[a + 1] + g.padding[a] - k * g.dilation[a];
          if (at >= 0 && at % g.stride[a] == 0 && at / g.stride[a] < g.output[a])
            reach[a].push_back({k, at / g.stride[a]});
        }
      }
      for (const Reach& z : reach[0])
        for (const Reach& y : reach[1])
          for (const Reach& x : reach[2]) {
            const int64_t k = (z.offset * g.kernel[1] + y.offset) * g.kernel[2] + x.offset;
            const int64_t output = ((cell[0] * g.output[0] + z.cell) * g.output[1] + y.cell) * g.output[2] + x.cell;
            candidates.push_back({output, k * rows + r});
            arrival.prefetch(output);
          }
    }
    arrival.reserve(reached.size() + candidates.size());
    for (const Candidate& candidate : candidates) {
      NumberTable::Slot& slot = arrival.slot(candidate.output);
      if (slot.number == -1) {
        MAE3D_CHECK(reached.size() < static_cast<size_t>(std::numeric_limits<int32_t>::max()), kStrided,
                    ": more than 2^31 - 1 output cells");
        slot = {candidate.output, static_cast<int32_t>(reached.size())};
        reached.push_back(candidate.output);
      }
      to[candidate.entry] = slot.value;
    }
  }

  const int64_t outputs = static_cast<int64_t>(reached.size());
  const Buffer<KeyedRow> items = make_buffer<KeyedRow>(outputs), spare = make_buffer<KeyedRow>(outputs);
  for (int64_t i = 0; i < outputs; ++i) items[i] = {static_cast<uint64_t>(reached[i]), i};
  const int bits = std::bit_width(static_cast<uint64_t>(cells));
  const KeyedRow* sorted = radix_sort(items.get(), spare.get(), outputs, bits);
  std::vector<int32_t> rank(static_cast<size_t>(outputs));
  Tensor cells_out = make_empty(coordinates, {outputs, g.axes + 1}, ScalarType::Int);
  int32_t* o = mdata<int32_t>(cells_out);
  for (int64_t i = 0; i < outputs; ++i) {
    rank[sorted[i].row] = static_cast<int32_t>(i);
    int64_t number = static_cast<int64_t>(sorted[i].key);
    for (int64_t a = 2; a >= 3 - g.axes; number /= g.output[a], --a)
      o[i * (g.axes + 1) + 1 + a - (3 - g.axes)] = static_cast<int32_t>(number % g.output[a]);
    o[i * (g.axes + 1)] = static_cast<int32_t>(number);
  }
  Tensor gather = make_empty(coordinates, {volume, outputs}, ScalarType::Int);
  int32_t* from = mdata<int32_t>(gather);
  parallel_for(0, volume, 1, [&](int64_t b, int64_t e) {
    for (int64_t k = b; k < e; ++k) {
      std::fill_n(from + k * outputs, outputs, -1);
      for (int64_t r = 0; r < rows; ++r) {
        int32_t& output = to[k * rows + r];
        if (output < 0) continue;
        output = rank[output];
        int32_t& input = from[k * outputs + output];
        if (input >= 0) {  // two rows that reach one output at one offset are one cell
          if (validate) fail_repeated(kStrided, input, r);
          output = -1;
        } else {
          input = static_cast<int32_t>(r);
        }
      }
    }
  });
  return {cells_out, gather, scatter};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("sparse_conv_submanifold", TORCH_BOX(&submanifold));
  m.impl("sparse_conv_strided", TORCH_BOX(&strided));
}

}  // namespace mae3d::sparse_conv
