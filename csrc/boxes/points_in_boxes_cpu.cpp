#include "points_in_boxes.h"

#include <algorithm>

#include "../common/parallel.h"
#include "../common/simd.h"

namespace mae3d {
namespace {

using boxes::Box;
using boxes::Ragged;

constexpr int64_t kBlock = 512;  // points that are tested against all boxes while they are in the first-level cache

struct Block {
  double x[kBlock], y[kBlock], z[kBlock];
  int32_t first[kBlock];
  int64_t count;
};

// Marks the points of a block that box `name` holds and that no earlier box holds; returns how many it holds.
MAE3D_SIMD int64_t mark(Block& block, const Box& box, int32_t name) {
  int64_t inside = 0;
#pragma omp simd reduction(+ : inside)
  for (int64_t i = 0; i < kBlock; ++i) {
    const double dx = block.x[i] - box.x, dy = block.y[i] - box.y;
    const double along = dx * box.cosine + dy * box.sine, across = dy * box.cosine + -dx * box.sine;
    const int32_t held = (std::abs(along) <= 0.5 * box.l) & (std::abs(across) <= 0.5 * box.w) &
                         (std::abs(block.z[i] - box.z) <= 0.5 * box.h);
    inside += held;
    const int32_t take = -(held & (block.first[i] < 0));
    block.first[i] = (block.first[i] & ~take) | (name & take);
  }
  return inside;
}

struct Span {
  int64_t begin, end;
};
Span sample(const Ragged& r, int64_t i) {
  if (!r.offsets) return {i * r.per_sample, (i + 1) * r.per_sample};
  return {cdata<int64_t>(*r.offsets)[i], cdata<int64_t>(*r.offsets)[i + 1]};
}

template <typename T>
void one_sample(const T* points, Span rows, const T* values, Span box_rows, int64_t base, int64_t* index,
                int64_t* counts) {
  std::vector<Box> list;
  for (int64_t j = box_rows.begin; j < box_rows.end; ++j)
    list.push_back(boxes::load_box(values + j * boxes::kParameters));
  std::vector<std::atomic<int64_t>> totals(list.size());
  const int64_t blocks = (rows.end - rows.begin + kBlock - 1) / kBlock;
  const int64_t cost = std::max<int64_t>(1, static_cast<int64_t>(list.size()));
  parallel_for(0, blocks, std::max<int64_t>(1, 64 / cost), [&](int64_t begin, int64_t end) {
    Block block;
    std::vector<int64_t> local(list.size());
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = rows.begin + b * kBlock;
      block.count = std::min(kBlock, rows.end - first);
      for (int64_t i = 0; i < kBlock; ++i) {
        const T* p = points + 3 * (first + std::min(i, block.count - 1));
        const bool real = i < block.count;  // NaN is in no box
        block.x[i] = real ? static_cast<double>(p[0]) : NAN, block.y[i] = p[1], block.z[i] = p[2];
        block.first[i] = -1;
      }
      for (size_t j = 0; j < list.size(); ++j)
        if (list[j].valid) local[j] += mark(block, list[j], static_cast<int32_t>(j));
      for (int64_t i = 0; i < block.count; ++i)
        index[first + i] = block.first[i] < 0 ? -1 : base + block.first[i];
    }
    for (size_t j = 0; j < list.size(); ++j) totals[j] += local[j];
  });
  for (size_t j = 0; j < list.size(); ++j) counts[box_rows.begin + static_cast<int64_t>(j)] = totals[j];
}

template <typename T> void all_samples(const Ragged& points, const Ragged& boxes, Tensor& index, Tensor& counts) {
  for (int64_t i = 0; i < points.batch; ++i) {
    const Span box_rows = sample(boxes, i);
    one_sample(cdata<T>(points.rows), sample(points, i), cdata<T>(boxes.rows), box_rows,
               boxes.offsets ? box_rows.begin : 0, mdata<int64_t>(index), mdata<int64_t>(counts));
  }
}

}  // namespace

std::tuple<Tensor, Tensor> points_in_boxes_cpu(const Tensor points, const Tensor boxes,
                                               const OptionalTensor points_offsets,
                                               const OptionalTensor boxes_offsets) {
  const Ragged p = mae3d::boxes::ragged(points, points_offsets, 3, "points");
  const Ragged b = mae3d::boxes::ragged(boxes, boxes_offsets, mae3d::boxes::kParameters, "boxes");
  mae3d::boxes::check_samples(p, b);
  Tensor index = make_empty(points, mae3d::boxes::shape_of(p), ScalarType::Long);
  Tensor counts = make_empty(points, mae3d::boxes::shape_of(b), ScalarType::Long);
  points.scalar_type() == ScalarType::Float ? all_samples<float>(p, b, index, counts)
                                            : all_samples<double>(p, b, index, counts);
  return {index, counts};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) { m.impl("points_in_boxes", TORCH_BOX(&points_in_boxes_cpu)); }

}  // namespace mae3d
