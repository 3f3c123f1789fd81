#include "chamfer.h"

#include <cmath>
#include <limits>

#include "../common/parallel.h"
#include "../common/simd.h"

namespace mae3d {
namespace {

constexpr int64_t kLanes = 16;

template <typename T> struct Cloud {  // structure of arrays, only the rows that can be partners
  std::vector<T> x, y, z;
  std::vector<int32_t> row;  // within the set
  int64_t count = 0;

  void resize(int64_t n) {
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    if (static_cast<int64_t>(x.size()) >= padded) return;
    x.resize(padded), y.resize(padded), z.resize(padded), row.resize(padded);
  }
};

template <typename T> struct Workspace {
  Cloud<T> a, b;
  std::vector<T> best;
  std::vector<int32_t> index;
};

template <typename T> bool finite(T x, T y, T z) { return (x - x) + (y - y) + (z - z) == T(0); }

template <typename T> void gather(const T* points, const bool* mask, int64_t n, Cloud<T>& cloud) {
  cloud.resize(n);
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2];
    cloud.x[count] = x, cloud.y[count] = y, cloud.z[count] = z, cloud.row[count] = static_cast<int32_t>(i);
    count += finite(x, y, z) && (!mask || mask[i]);
  }
  cloud.count = count;
}

// One vector of queries against all candidates; candidates ascend, so a strict < keeps the lowest of equals.
template <typename T>
MAE3D_INLINE void nearest_body(const T* qx, const T* qy, const T* qz, int64_t queries, const T* cx, const T* cy,
                               const T* cz, int64_t candidates, T* best, int32_t* index) {
  for (int64_t q = 0; q < queries; q += kLanes) {
    T distance[kLanes], x[kLanes], y[kLanes], z[kLanes];
    int32_t found[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) {
      distance[l] = std::numeric_limits<T>::infinity(), found[l] = -1;
      x[l] = qx[q + l], y[l] = qy[q + l], z[l] = qz[q + l];
    }
    for (int64_t c = 0; c < candidates; ++c) {
      const T px = cx[c], py = cy[c], pz = cz[c];
#pragma omp simd
      for (int64_t l = 0; l < kLanes; ++l) {
        const T dx = x[l] - px, dy = y[l] - py, dz = z[l] - pz;
        const T d = (dx * dx + dy * dy) + dz * dz;
        const bool nearer = d < distance[l];
        distance[l] = nearer ? d : distance[l];
        found[l] = nearer ? static_cast<int32_t>(c) : found[l];
      }
    }
    for (int64_t l = 0; l < kLanes; ++l) best[q + l] = distance[l], index[q + l] = found[l];
  }
}
MAE3D_SIMD void nearest(const float* qx, const float* qy, const float* qz, int64_t queries, const float* cx,
                        const float* cy, const float* cz, int64_t candidates, float* best, int32_t* index) {
  nearest_body(qx, qy, qz, queries, cx, cy, cz, candidates, best, index);
}
MAE3D_SIMD void nearest(const double* qx, const double* qy, const double* qz, int64_t queries, const double* cx,
                        const double* cy, const double* cz, int64_t candidates, double* best, int32_t* index) {
  nearest_body(qx, qy, qz, queries, cx, cy, cz, candidates, best, index);
}

// What rows that take no part get: 0 where masked, NaN where a coordinate is NaN, +inf otherwise; index -1.
template <typename T> void fill_default(const T* points, const bool* mask, int64_t n, T* distance, int64_t* index) {
  for (int64_t i = 0; i < n; ++i) {
    const T* p = points + 3 * i;
    const bool nan = p[0] != p[0] || p[1] != p[1] || p[2] != p[2];
    distance[i] = mask && !mask[i] ? T(0)
                  : nan            ? std::numeric_limits<T>::quiet_NaN()
                                   : std::numeric_limits<T>::infinity();
    index[i] = -1;
  }
}

template <typename T>
void one_way(const Cloud<T>& from, const Cloud<T>& to, int64_t base, Workspace<T>& work, T* distance, int64_t* index) {
  const int64_t padded = (from.count + kLanes - 1) / kLanes * kLanes;
  if (static_cast<int64_t>(work.best.size()) < padded) work.best.resize(padded), work.index.resize(padded);
  nearest(from.x.data(), from.y.data(), from.z.data(), from.count, to.x.data(), to.y.data(), to.z.data(), to.count,
          work.best.data(), work.index.data());
  for (int64_t q = 0; q < from.count; ++q) {
    if (work.index[q] < 0) continue;
    distance[from.row[q]] = work.best[q];
    index[from.row[q]] = base + to.row[work.index[q]];
  }
}

struct Range {
  int64_t begin, count;
};
Range rows_of(const PointSets& side, int64_t set) {
  if (!side.offsets) return {set * side.per_set, side.per_set};
  const int64_t* offsets = cdata<int64_t>(*side.offsets);
  return {offsets[set], offsets[set + 1] - offsets[set]};
}

struct Result {
  Tensor a_to_b, b_to_a, a_to_b_index, b_to_a_index;
};

template <typename T> void one_pair(const PointSets& a, const PointSets& b, int64_t set, Workspace<T>& work, Result& r) {
  const Range ra = rows_of(a, set), rb = rows_of(b, set);
  const T* pa = cdata<T>(a.points) + 3 * ra.begin;
  const T* pb = cdata<T>(b.points) + 3 * rb.begin;
  const bool* ma = a.mask ? cdata<bool>(*a.mask) + ra.begin : nullptr;
  const bool* mb = b.mask ? cdata<bool>(*b.mask) + rb.begin : nullptr;
  T* da = mdata<T>(r.a_to_b) + ra.begin;
  T* db = mdata<T>(r.b_to_a) + rb.begin;
  int64_t* ia = mdata<int64_t>(r.a_to_b_index) + ra.begin;
  int64_t* ib = mdata<int64_t>(r.b_to_a_index) + rb.begin;
  gather(pa, ma, ra.count, work.a);
  gather(pb, mb, rb.count, work.b);
  fill_default(pa, ma, ra.count, da, ia);
  fill_default(pb, mb, rb.count, db, ib);
  one_way(work.a, work.b, b.offsets ? rb.begin : 0, work, da, ia);
  one_way(work.b, work.a, a.offsets ? ra.begin : 0, work, db, ib);
}

template <typename T> void all_pairs(const PointSets& a, const PointSets& b, Result& r) {
  const int64_t cost = std::max<int64_t>(1, a.rows / std::max<int64_t>(1, a.sets)) *
                       std::max<int64_t>(1, b.rows / std::max<int64_t>(1, b.sets));
  parallel_for(0, a.sets, std::max<int64_t>(1, 65536 / cost), [&](int64_t begin, int64_t end) {
    Workspace<T> work;
    for (int64_t set = begin; set < end; ++set) one_pair(a, b, set, work, r);
  });
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> chamfer_distance_cpu(const Tensor a, const Tensor b,
                                                                const OptionalTensor a_mask,
                                                                const OptionalTensor b_mask,
                                                                const OptionalTensor a_offsets,
                                                                const OptionalTensor b_offsets) {
  const char* op = "chamfer_distance";
  const PointSets pa = point_sets(a, a_mask, a_offsets, op, "a"), pb = point_sets(b, b_mask, b_offsets, op, "b");
  check_pair(pa, pb, op);
  const ScalarType dtype = a.scalar_type();
  Result r{make_empty(a, pa.result_shape(), dtype), make_empty(a, pb.result_shape(), dtype),
           make_empty(a, pa.result_shape(), ScalarType::Long), make_empty(a, pb.result_shape(), ScalarType::Long)};
  dtype == ScalarType::Float ? all_pairs<float>(pa, pb, r) : all_pairs<double>(pa, pb, r);
  return {r.a_to_b, r.b_to_a, r.a_to_b_index, r.b_to_a_index};
}

namespace {

// grad of `from` += its own pairs, grad of `to` -= the same.
template <typename T>
void pull(const T* from, const T* to, const T* grad, const int64_t* index, Range rows, Range partners, int64_t base,
          T* grad_from, T* grad_to) {
  for (int64_t i = rows.begin; i < rows.begin + rows.count; ++i) {
    const int64_t j = index[i] + base;
    if (index[i] < 0 || j < partners.begin || j >= partners.begin + partners.count) continue;
    const T g = T(2) * grad[i];
    for (int k = 0; k < 3; ++k) {
      const T step = g * (from[3 * i + k] - to[3 * j + k]);
      if (grad_from) grad_from[3 * i + k] += step;
      if (grad_to) grad_to[3 * j + k] -= step;
    }
  }
}

struct BackwardInputs {
  Tensor grad_a_to_b, grad_b_to_a, a_to_b_index, b_to_a_index;
};

template <typename T>
void backward_pairs(const PointSets& a, const PointSets& b, const BackwardInputs& in, Tensor& grad_a, Tensor& grad_b) {
  const T* pa = cdata<T>(a.points);
  const T* pb = cdata<T>(b.points);
  const T* ga = cdata<T>(in.grad_a_to_b);
  const T* gb = cdata<T>(in.grad_b_to_a);
  const int64_t* ia = cdata<int64_t>(in.a_to_b_index);
  const int64_t* ib = cdata<int64_t>(in.b_to_a_index);
  T* da = mdata<T>(grad_a);
  T* db = mdata<T>(grad_b);
  const int64_t rows = 1 + (a.rows + b.rows) / std::max<int64_t>(1, a.sets);
  parallel_for(0, a.sets, std::max<int64_t>(1, 4096 / rows), [&](int64_t begin, int64_t end) {
    for (int64_t set = begin; set < end; ++set) {
      const Range ra = rows_of(a, set), rb = rows_of(b, set);
      const int64_t base_a = a.offsets ? 0 : ra.begin, base_b = b.offsets ? 0 : rb.begin;
      // Own pairs of both sides first, then the pairs of those that chose them.
      pull<T>(pa, pb, ga, ia, ra, rb, base_b, da, nullptr);
      pull<T>(pb, pa, gb, ib, rb, ra, base_a, db, nullptr);
      pull<T>(pa, pb, ga, ia, ra, rb, base_b, nullptr, db);
      pull<T>(pb, pa, gb, ib, rb, ra, base_a, nullptr, da);
    }
  });
}

}  // namespace

std::tuple<Tensor, Tensor> chamfer_distance_backward_cpu(const Tensor grad_a_to_b, const Tensor grad_b_to_a,
                                                         const Tensor a, const Tensor b, const Tensor a_to_b_index,
                                                         const Tensor b_to_a_index, const OptionalTensor a_offsets,
                                                         const OptionalTensor b_offsets) {
  const char* op = "chamfer_distance_backward";
  const PointSets pa = point_sets(a, {}, a_offsets, op, "a"), pb = point_sets(b, {}, b_offsets, op, "b");
  check_pair(pa, pb, op);
  check_backward(pa, grad_a_to_b, a_to_b_index, op, "grad_a_to_b", "a_to_b_index");
  check_backward(pb, grad_b_to_a, b_to_a_index, op, "grad_b_to_a", "b_to_a_index");
  const BackwardInputs in{as_contiguous(grad_a_to_b), as_contiguous(grad_b_to_a), as_contiguous(a_to_b_index),
                          as_contiguous(b_to_a_index)};
  const ScalarType dtype = a.scalar_type();
  Tensor grad_a = torch::stable::new_zeros(a, a.sizes(), dtype), grad_b = torch::stable::new_zeros(b, b.sizes(), dtype);
  dtype == ScalarType::Float ? backward_pairs<float>(pa, pb, in, grad_a, grad_b)
                             : backward_pairs<double>(pa, pb, in, grad_a, grad_b);
  return {grad_a, grad_b};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("chamfer_distance", TORCH_BOX(&chamfer_distance_cpu));
  m.impl("chamfer_distance_backward", TORCH_BOX(&chamfer_distance_backward_cpu));
}

}  // namespace mae3d
