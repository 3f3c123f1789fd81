#include "nms.h"

#include "../common/parallel.h"
#include "box_list.h"

namespace mae3d {
namespace {

using boxes::Box;
using boxes::BoxList;

// For circle suppression every box is a disc of half the distance; only the centre matters.
template <typename T> BoxList discs(const T* values, int64_t n, double distance) {
  BoxList list;
  list.resize(n);
  for (int64_t i = 0; i < n; ++i) {
    const double x = values[i * boxes::kParameters], y = values[i * boxes::kParameters + 1];
    Box disc{};
    disc.x = x, disc.y = y, disc.radius = 0.5 * distance;
    disc.valid = std::isfinite(x) && std::isfinite(y);
    list.set(i, disc);
  }
  return list;
}

struct Task {
  const int64_t* labels;  // or null
  const bool* valid;
  int64_t count, max_output;
  double threshold;
  bool circle;
};

template <typename T> int64_t suppress(const T* values, const Task& task, int64_t* keep) {
  BoxList list;
  if (task.circle) list = discs(values, task.count, task.threshold);
  else list.load(values, task.count);
  std::vector<uint8_t> gone(task.count);
  std::vector<uint64_t> near;
  int64_t kept = 0;
  for (int64_t i = 0; i < task.count && kept < task.max_output; ++i) {
    if (gone[i] || !task.valid[i]) continue;
    keep[kept++] = i;
    const Box& box = list.box[i];
    if (!box.valid) continue;
    list.for_each_near(box, i + 1, near, [&](int64_t j) {
      if (gone[j] || (task.labels && task.labels[i] != task.labels[j])) return;
      const double dx = box.x - list.x[j], dy = box.y - list.y[j];
      gone[j] = task.circle ? dx * dx + dy * dy <= task.threshold * task.threshold
                            : boxes::overlaps(box, list.box[j], task.threshold);
    });
  }
  std::fill(keep + kept, keep + task.max_output, -1);
  return kept;
}

}  // namespace

std::tuple<Tensor, Tensor> nms_sorted_cpu(const Tensor boxes, const OptionalTensor labels, const Tensor valid,
                                          double threshold, bool circle, int64_t max_output) {
  mae3d::boxes::check_nms(boxes, labels, valid, max_output);
  const Tensor values = as_contiguous(boxes), valids = as_contiguous(valid);
  const OptionalTensor names = labels ? OptionalTensor(as_contiguous(*labels)) : OptionalTensor();
  const int64_t batch = boxes.size(0), n = boxes.size(1), size = std::min(max_output, n);
  Tensor keep = make_empty(boxes, {batch, size}, ScalarType::Long);
  Tensor count = make_empty(boxes, {batch}, ScalarType::Long);
  int64_t *k = mdata<int64_t>(keep), *c = mdata<int64_t>(count);
  parallel_tasks(batch, [&](int64_t i) {
    const Task task{names ? cdata<int64_t>(*names) + i * n : nullptr, cdata<bool>(valids) + i * n, n, size, threshold,
                    circle};
    const int64_t first = i * n * mae3d::boxes::kParameters;
    c[i] = boxes.scalar_type() == ScalarType::Float ? suppress(cdata<float>(values) + first, task, k + i * size)
                                                    : suppress(cdata<double>(values) + first, task, k + i * size);
  });
  return {keep, count};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) { m.impl("nms_sorted", TORCH_BOX(&nms_sorted_cpu)); }

}  // namespace mae3d
