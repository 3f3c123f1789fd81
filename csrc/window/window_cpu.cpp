// CPU windows: one pass of reciprocal divisions, then a radix sort over as many bits as the identifiers have.
#include "../common/divider.h"
#include "../common/radix_sort.h"
#include "window.h"

namespace mae3d {
namespace {

MAE3D_SIMD void partition_rows(const int64_t* c, int64_t n, const WindowGeometry& g, int64_t* windows, int64_t* inside) {
  const Divider by_x(g.window[0]), by_y(g.window[1]), by_z(g.window[2]);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t b = c[4 * i], z = c[4 * i + 1], y = c[4 * i + 2], x = c[4 * i + 3];
    const bool keep = (b >= 0) & (b <= g.largest_cloud) & (x >= 0) & (x < g.grid[0]) & (y >= 0) & (y < g.grid[1]) &
                      (z >= 0) & (z < g.grid[2]);
    int64_t ix = 0, iy = 0, iz = 0;
    const int64_t wx = by_x.split(keep ? x + g.shift[0] : 0, ix);
    const int64_t wy = by_y.split(keep ? y + g.shift[1] : 0, iy);
    const int64_t wz = by_z.split(keep ? z + g.shift[2] : 0, iz);
    const int64_t id = (((keep ? b : 0) * g.count[0] + wx) * g.count[1] + wy) * g.count[2] + wz;
    windows[i] = keep ? id : -1;
    inside[3 * i] = keep ? iz : -1;
    inside[3 * i + 1] = keep ? iy : -1;
    inside[3 * i + 2] = keep ? ix : -1;
  }
}

struct KeptRows {
  Buffer<KeyedRow> items;
  int64_t count = 0;
  int64_t largest = 0;
};

// The rows that take part, in order: chunks count, then write at their place.
KeptRows keep_rows(const int64_t* windows, int64_t n, int64_t bound) {
  const int64_t chunks = std::clamp<int64_t>(n / 16384, 1, num_threads());
  const int64_t limit = bound ? bound : INT64_MAX;
  std::vector<int64_t> begin(static_cast<size_t>(chunks) + 1, 0), largest(static_cast<size_t>(chunks), 0);
  const auto from = [&](int64_t c) { return n * c / chunks; };
  parallel_tasks(chunks, [&](int64_t c) {
    int64_t kept = 0, most = 0;
    for (int64_t i = from(c); i < from(c + 1); ++i) {
      const bool keep = windows[i] >= 0 && windows[i] < limit;
      kept += keep;
      most = std::max(most, keep ? windows[i] : 0);
    }
    begin[static_cast<size_t>(c) + 1] = kept;
    largest[static_cast<size_t>(c)] = most;
  });
  for (int64_t c = 0; c < chunks; ++c) begin[c + 1] += begin[c];
  KeptRows out;
  out.count = begin[chunks];
  out.largest = *std::max_element(largest.begin(), largest.end());
  out.items = make_buffer<KeyedRow>(out.count);
  parallel_tasks(chunks, [&](int64_t c) {
    int64_t at = begin[static_cast<size_t>(c)];
    for (int64_t i = from(c); i < from(c + 1); ++i)
      if (windows[i] >= 0 && windows[i] < limit) out.items[at++] = {static_cast<uint64_t>(windows[i]), i};
  });
  return out;
}

}  // namespace

std::tuple<Tensor, Tensor> window_partition(const Tensor& coordinates, std::vector<int64_t> window,
                                            std::vector<int64_t> grid, bool shifted) {
  const WindowGeometry g = check_window_arguments(coordinates, window, grid, shifted);
  const Tensor c = as_contiguous(coordinates);
  const int64_t n = c.size(0);
  const Tensor windows = make_empty(c, {n}, ScalarType::Long), inside = make_empty(c, {n, 3}, ScalarType::Long);
  parallel_for(0, n, 8192, [&](int64_t begin, int64_t end) {
    partition_rows(cdata<int64_t>(c) + 4 * begin, end - begin, g, mdata<int64_t>(windows) + begin,
                   mdata<int64_t>(inside) + 3 * begin);
  });
  return {windows, inside};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> window_attention_layout(const Tensor& windows, int64_t bound) {
  check_layout_arguments(windows, bound);
  const Tensor w = as_contiguous(windows);
  const int64_t n = w.size(0);
  KeptRows kept = keep_rows(cdata<int64_t>(w), n, bound);
  const Buffer<KeyedRow> spare = make_buffer<KeyedRow>(kept.count);
  const KeyedRow* sorted = radix_sort(kept.items.get(), spare.get(), kept.count,
                                      std::bit_width(static_cast<uint64_t>(kept.largest)));

  const Tensor order = make_empty(w, {kept.count}, ScalarType::Long), inverse = make_empty(w, {n}, ScalarType::Long);
  int64_t* to = mdata<int64_t>(order);
  int64_t* place = mdata<int64_t>(inverse);
  std::fill_n(place, n, -1);
  std::vector<int64_t> starts, identifiers;
  for (int64_t j = 0; j < kept.count; ++j) {
    to[j] = sorted[j].row;
    place[sorted[j].row] = j;
    if (j && sorted[j].key == sorted[j - 1].key) continue;
    starts.push_back(j);
    identifiers.push_back(static_cast<int64_t>(sorted[j].key));
  }
  starts.push_back(kept.count);

  const auto found = static_cast<int64_t>(identifiers.size());
  const Tensor offsets = make_empty(w, {found + 1}, ScalarType::Long);
  const Tensor present = make_empty(w, {found}, ScalarType::Long);
  const Tensor max_length = make_empty(w, std::vector<int64_t>{}, ScalarType::Long);
  std::copy(starts.begin(), starts.end(), mdata<int64_t>(offsets));
  std::copy(identifiers.begin(), identifiers.end(), mdata<int64_t>(present));
  int64_t longest = 0;
  for (int64_t i = 0; i < found; ++i) longest = std::max(longest, starts[i + 1] - starts[i]);
  *mdata<int64_t>(max_length) = longest;
  return {order, offsets, present, inverse, max_length};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("window_partition", TORCH_BOX(&window_partition));
  m.impl("window_attention_layout", TORCH_BOX(&window_attention_layout));
}

}  // namespace mae3d
