// CPU radial masking: a vectorised arc tangent for the sectors; only groups that are kept in part are ranked.
#include <numbers>

#include "../common/radix_sort.h"
#include "../common/simd.h"
#include "radial_mask.h"

namespace mae3d {
namespace {

// atan(t) for 0 <= t <= 1 by the rational approximation of Cephes (Moshier 1989), error below 2e-16 relative.
MAE3D_INLINE double arc_tangent(double t) {
  const bool upper = t > 0.66;
  const double x = upper ? (t - 1.0) / (t + 1.0) : t;
  const double z = x * x;
  double p = -8.750608600031904122785e-1;
  p = p * z - 1.615753718733365076637e1;
  p = p * z - 7.500855792314704667340e1;
  p = p * z - 1.228866684490136173410e2;
  p = p * z - 6.485021904942025371773e1;
  double q = z + 2.485846490142306297962e1;
  q = q * z + 1.650270098316988542046e2;
  q = q * z + 4.328810604912902668951e2;
  q = q * z + 4.853903996359136964868e2;
  q = q * z + 1.945506571482613964425e2;
  return (upper ? std::numbers::pi / 4 : 0.0) + (x * (z * p / q) + x);
}

MAE3D_INLINE double degrees_of(double y, double x) {
  const double ax = std::fabs(x), ay = std::fabs(y);
  const double large = ax > ay ? ax : ay, small = ax > ay ? ay : ax;
  double angle = arc_tangent(large > 0 ? small / large : 0.0);
  angle = ay > ax ? std::numbers::pi / 2 - angle : angle;
  angle = x < 0 ? std::numbers::pi - angle : angle;
  return (y < 0 ? -angle : angle) * (180.0 / std::numbers::pi);
}

MAE3D_SIMD void group_rows(const int64_t* c, int64_t n, const RadialGeometry& geometry, int64_t* groups) {
  constexpr int64_t kBlock = 128;
  const RadialGeometry g = geometry;  // a copy that no store can alias: the loops below stay in registers
  double x[kBlock], y[kBlock], cell[kBlock];
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t m = std::min(kBlock, n - start);
    const int64_t* in = c + 4 * start;
    for (int64_t i = 0; i < m; ++i) {
      x[i] = radial_position(in[4 * i + 3], g.scale[0], g.origin[0]);
      y[i] = radial_position(in[4 * i + 2], g.scale[1], g.origin[1]);
    }
    const double* rise = g.from_y ? x : y;
    const double* run = g.from_y ? y : x;
#pragma omp simd
    for (int64_t i = 0; i < m; ++i) cell[i] = radial_cell(degrees_of(rise[i], run[i]), squared_norm(x[i], y[i]), g);
    const int64_t per_cloud = g.shared ? 0 : g.sectors * 3;
    for (int64_t i = 0; i < m; ++i) groups[start + i] = in[4 * i] * per_cloud + static_cast<int64_t>(cell[i]);
  }
}

// Marks the voxels of each partly kept group that have the lowest scores.
void keep_lowest(const int64_t* groups, int64_t n, const int64_t* quota, const std::vector<int64_t>& counts,
                 const float* scores, uint8_t* kept) {
  const auto total = static_cast<int64_t>(counts.size());
  std::vector<int64_t> begin(counts.size() + 1, 0);
  const auto partial = [&](int64_t g) { return quota[g] > 0 && quota[g] < counts[g]; };
  for (int64_t g = 0; g < total; ++g) begin[g + 1] = begin[g] + (partial(g) ? counts[g] : 0);
  if (begin[total] == 0) return;
  // (score, row) in one integer: a partial sort of plain numbers, ties to the lower row.
  const Buffer<uint64_t> members = make_buffer<uint64_t>(begin[total]);
  std::vector<int64_t> next(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t g = groups[i];
    if (g < 0 || g >= total || !partial(g)) continue;
    members[next[g]++] = static_cast<uint64_t>(ordered_bits(scores[i])) << 32 | static_cast<uint64_t>(i);
  }
  parallel_tasks(total, [&](int64_t g) {
    if (!partial(g)) return;
    uint64_t* first = members.get() + begin[g];
    std::nth_element(first, first + quota[g], members.get() + begin[g + 1]);
    for (int64_t j = 0; j < quota[g]; ++j) kept[first[j] & 0xffffffffu] = 1;
  });
}

}  // namespace

std::tuple<Tensor, Tensor> radial_groups(const Tensor& coordinates, std::vector<double> scale,
                                         std::vector<double> origin, bool from_y, double sector_degrees,
                                         std::vector<double> bands, int64_t clouds, bool shared) {
  const RadialGeometry g =
      check_radial_arguments(coordinates, scale, origin, from_y, sector_degrees, bands, clouds, shared);
  const Tensor c = as_contiguous(coordinates);
  const int64_t n = c.size(0), total = (shared ? 1 : clouds) * g.sectors * 3;
  const int64_t* in = cdata<int64_t>(c);
  for (int64_t i = 0; i < n; ++i)
    MAE3D_CHECK(in[4 * i] >= 0 && in[4 * i] < clouds, "radial_groups: 'coordinates' must name clouds in [0, ", clouds,
                "), but row ", i, " has ", in[4 * i]);
  const Tensor groups = make_empty(c, {n}, ScalarType::Long), counts = make_zeros(c, {total}, ScalarType::Long);
  int64_t* out = mdata<int64_t>(groups);
  parallel_for(0, n, 4096, [&](int64_t begin, int64_t end) { group_rows(in + 4 * begin, end - begin, g, out + begin); });
  int64_t* count = mdata<int64_t>(counts);
  for (int64_t i = 0; i < n; ++i) ++count[out[i]];
  return {groups, counts};
}

std::tuple<Tensor, Tensor> radial_select(const Tensor& groups, const Tensor& quota, const Tensor& scores) {
  check_select_arguments(groups, quota, scores);
  const Tensor g = as_contiguous(groups), q = as_contiguous(quota), s = as_contiguous(scores);
  const int64_t n = g.size(0), total = q.size(0);
  const int64_t* group = cdata<int64_t>(g);
  const int64_t* limit = cdata<int64_t>(q);
  const bool ranked = s.size(0) != 0;
  std::vector<int64_t> counts(static_cast<size_t>(total), 0);
  for (int64_t i = 0; i < n && ranked; ++i)
    if (group[i] >= 0 && group[i] < total) ++counts[static_cast<size_t>(group[i])];
  const Buffer<uint8_t> kept = make_buffer<uint8_t>(n);
  for (int64_t i = 0; i < n; ++i) {
    const bool known = group[i] >= 0 && group[i] < total;
    kept[i] = known && limit[group[i]] > 0 && (!ranked || limit[group[i]] >= counts[static_cast<size_t>(group[i])]);
  }
  if (ranked) keep_lowest(group, n, limit, counts, cdata<float>(s), kept.get());
  int64_t visible_count = 0;
  for (int64_t i = 0; i < n; ++i) visible_count += kept[i];
  const Tensor visible = make_empty(g, {visible_count}, ScalarType::Long);
  const Tensor masked = make_empty(g, {n - visible_count}, ScalarType::Long);
  int64_t *v = mdata<int64_t>(visible), *m = mdata<int64_t>(masked);
  for (int64_t i = 0; i < n; ++i) *(kept[i] ? v++ : m++) = i;
  return {visible, masked};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("radial_groups", TORCH_BOX(&radial_groups));
  m.impl("radial_select", TORCH_BOX(&radial_select));
}

}  // namespace mae3d
