#include "chamfer.h"

#include <limits>

#include "../common/parallel.h"
#include "nearest.h"

namespace mae3d {
namespace {

using chamfer::Cloud;
using chamfer::Frame;
using chamfer::SortedCloud;

template <typename T> struct Workspace {
  Cloud<T> a, b;
  SortedCloud<T> sorted_a, sorted_b;
  std::vector<T> best;
  std::vector<int32_t> partner;

  void resize(int64_t n) {
    if (static_cast<int64_t>(best.size()) < n) best.resize(n), partner.resize(n);
  }
};

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

template <typename T> struct Output {
  T* distance;
  int64_t* index;
  int64_t base;  // added to partners
};

template <typename T> void small_search(const Cloud<T>& from, const Cloud<T>& to, Workspace<T>& work, Output<T> out) {
  work.resize(chamfer::padded(from.count));
  chamfer::all_pairs(from.x.data(), from.y.data(), from.z.data(), from.count, to.x.data(), to.y.data(), to.z.data(),
                     to.count, work.best.data(), work.partner.data());
  for (int64_t q = 0; q < from.count; ++q) {
    const int64_t row = from.complete ? q : from.row[q], partner = work.partner[q];
    out.distance[row] = work.best[q];
    out.index[row] = partner < 0 ? -1 : out.base + (to.complete ? partner : to.row[partner]);
  }
}

template <typename T>
void large_search(const SortedCloud<T>& from, const SortedCloud<T>& to, Workspace<T>& work, Output<T> out) {
  work.resize(chamfer::padded(from.points.count));
  parallel_for(0, from.blocks.count, 64, [&](int64_t begin, int64_t end) {
    chamfer::search_blocks(from, to, begin, end, work.best.data(), work.partner.data());
  });
  for (int64_t q = 0; q < from.points.count; ++q) {
    const int64_t row = from.points.row[q], partner = work.partner[q];
    out.distance[row] = work.best[q];
    out.index[row] = partner < 0 ? -1 : out.base + partner;
  }
}

template <typename T> void both_ways(Workspace<T>& work, Output<T> to_b, Output<T> to_a) {
  if (work.a.count == 0 || work.b.count == 0 || work.a.count * work.b.count < chamfer::kBruteForcePairs) {
    small_search(work.a, work.b, work, to_b);
    small_search(work.b, work.a, work, to_a);
    return;
  }
  Frame<T> frame;
  frame.reset();
  frame.include(work.a);
  frame.include(work.b);
  chamfer::sort_cloud(work.a, frame, work.sorted_a);
  chamfer::sort_cloud(work.b, frame, work.sorted_b);
  large_search(work.sorted_a, work.sorted_b, work, to_b);
  large_search(work.sorted_b, work.sorted_a, work, to_a);
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
  chamfer::gather(pa, ma, ra.count, work.a);
  chamfer::gather(pb, mb, rb.count, work.b);
  if (!work.a.complete) fill_default(pa, ma, ra.count, da, ia);
  if (!work.b.complete) fill_default(pb, mb, rb.count, db, ib);
  both_ways(work, Output<T>{da, ia, b.offsets ? rb.begin : 0}, Output<T>{db, ib, a.offsets ? ra.begin : 0});
}

template <typename T> void all_sets(const PointSets& a, const PointSets& b, Result& r) {
  const auto some = [&](int64_t begin, int64_t end) {
    Workspace<T> work;
    for (int64_t set = begin; set < end; ++set) one_pair(a, b, set, work, r);
  };
  // Few sets are taken one after another: the search inside is parallel.
  if (a.sets < num_threads()) return some(0, a.sets);
  const int64_t mean_rows = (a.rows + b.rows) / std::max<int64_t>(1, a.sets);
  parallel_for(0, a.sets, std::max<int64_t>(1, 2048 / (mean_rows + 1)), some);
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
  dtype == ScalarType::Float ? all_sets<float>(pa, pb, r) : all_sets<double>(pa, pb, r);
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
