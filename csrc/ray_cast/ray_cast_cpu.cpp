#include "ray_cast.h"

#include <algorithm>

#include "common/parallel.h"
#include "common/simd.h"

namespace mae3d {
namespace {

struct Beams {
  std::vector<float> slope, level;
};

// One slice against all beams of the column; `best` and its companions are updated where the slice is nearer.
MAE3D_SIMD void cast_slice(const Slice& s, const float* slope, const float* level, int64_t beams, float* best,
                           float* cosine, int64_t* index) {
  for (int64_t e = 0; e < beams; ++e) {
    const Hit hit = s.kind == 2 ? hit_ellipse(s, slope[e], level[e]) : hit_slab(s, slope[e], level[e]);
    const bool nearer = hit.distance < best[e];
    best[e] = nearer ? hit.distance : best[e];
    cosine[e] = nearer ? hit.cosine : cosine[e];
    index[e] = nearer ? s.index : index[e];
  }
}

std::tuple<Tensor, Tensor, Tensor> ray_cast(const Tensor& origins, const Tensor& azimuths, const Tensor& elevations,
                                            const Tensor& primitives, double ground_z, double max_range) {
  check_ray_cast(origins, azimuths, elevations, primitives);
  const Tensor o = as_contiguous(origins), az = as_contiguous(azimuths), el = as_contiguous(elevations),
               pr = as_contiguous(primitives);
  const int64_t columns = o.size(0), beams = el.size(0), count = pr.size(0);
  Tensor ranges = make_empty(o, {columns, beams}, ScalarType::Float);
  Tensor index = make_empty(o, {columns, beams}, ScalarType::Long);
  Tensor cosine = make_empty(o, {columns, beams}, ScalarType::Float);

  Beams table{std::vector<float>(beams), std::vector<float>(beams)};
  for (int64_t e = 0; e < beams; ++e) {
    table.slope[e] = std::tan(cdata<float>(el)[e]);
    table.level[e] = std::cos(cdata<float>(el)[e]);
  }
  const float limit = static_cast<float>(max_range);
  parallel_for(0, columns, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> best(beams);
    for (int64_t a = begin; a < end; ++a) {
      const float* p = cdata<float>(o) + 3 * a;
      const float heading = cdata<float>(az)[a];
      const Column column{p[0], p[1], p[2], std::cos(heading), std::sin(heading)};
      float* range_row = mdata<float>(ranges) + a * beams;
      float* cosine_row = mdata<float>(cosine) + a * beams;
      int64_t* index_row = mdata<int64_t>(index) + a * beams;
      std::fill(best.begin(), best.end(), INFINITY);
      std::fill(cosine_row, cosine_row + beams, 0.f);
      std::fill(index_row, index_row + beams, kNothing);
      for (int64_t m = 0; m < count; ++m) {
        Slice slice;
        if (make_slice(cdata<float>(pr) + 8 * m, column, limit, m, slice))
          cast_slice(slice, table.slope.data(), table.level.data(), beams, best.data(), cosine_row, index_row);
      }
      const float drop = static_cast<float>(ground_z) - column.z;  // NaN: no comparison below holds
      for (int64_t e = 0; e < beams; ++e) {
        const float t = drop / table.slope[e];
        if (drop < 0.f && table.slope[e] < 0.f && t < best[e])
          best[e] = t, cosine_row[e] = std::fabs(table.slope[e]) * table.level[e], index_row[e] = kGround;
        const float range = best[e] / table.level[e];
        const bool seen = range <= limit;
        range_row[e] = seen ? range : INFINITY;
        if (!seen) cosine_row[e] = 0.f, index_row[e] = kNothing;
      }
    }
  });
  return {ranges, index, cosine};
}

}  // namespace
}  // namespace mae3d

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) { m.impl("ray_cast", TORCH_BOX(&mae3d::ray_cast)); }
