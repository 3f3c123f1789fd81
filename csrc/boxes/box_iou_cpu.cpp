#include "box_iou.h"

#include <cstring>

#include "../common/parallel.h"
#include "box_list.h"

namespace mae3d {
namespace {

using boxes::Box;
using boxes::BoxList;

template <typename T> std::vector<BoxList> load_all(const Tensor& tensor) {
  const int64_t batch = tensor.size(0), n = tensor.size(1);
  std::vector<BoxList> lists(batch);
  for (int64_t i = 0; i < batch; ++i) lists[i].load(cdata<T>(tensor) + i * n * boxes::kParameters, n);
  return lists;
}

template <typename T> void all_values(const Tensor& a, const Tensor& b, int64_t kind, Tensor& values) {
  const int64_t n = a.size(1), m = b.size(1);
  const std::vector<BoxList> as = load_all<T>(a), bs = load_all<T>(b);
  T* out = mdata<T>(values);
  const T nothing = static_cast<T>(boxes::value_of_invalid(kind));
  parallel_for(0, a.size(0) * n, std::max<int64_t>(1, 16384 / (m + 1)), [&](int64_t begin, int64_t end) {
    std::vector<uint64_t> near;
    for (int64_t row = begin; row < end; ++row) {
      const Box& box = as[row / n].box[row % n];
      const BoxList& others = bs[row / n];
      T* line = out + row * m;
      std::fill(line, line + m, nothing);
      if (!box.valid) continue;
      const auto one = [&](int64_t j) {
        if (others.box[j].valid)
          line[j] = static_cast<T>(boxes::parts_of<false>(kind, box, others.box[j]).value());
      };
      if (kind == boxes::kGiou3d) {
        for (int64_t j = 0; j < m; ++j) one(j);
      } else {
        others.for_each_near(box, 0, near, one);
      }
    }
  });
}

// Gradient of the rows of one side; `across` is the step in grad from one partner to the next.
template <typename T, bool kOfA>
void rows_gradient(const Tensor& own, const Tensor& other, const Tensor& grad, int64_t kind, Tensor& result) {
  const int64_t n = own.size(1), m = other.size(1);
  const std::vector<BoxList> owns = load_all<T>(own), others = load_all<T>(other);
  const T* g = cdata<T>(grad);
  T* out = mdata<T>(result);
  const int64_t along = kOfA ? m : 1, across = kOfA ? 1 : n;
  parallel_for(0, own.size(0) * n, std::max<int64_t>(1, 1024 / (m + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t pair = row / n, i = row % n;
      const Box& box = owns[pair].box[i];
      double sum[boxes::kParameters] = {};
      for (int64_t j = 0; box.valid && j < m; ++j) {
        const double scale = g[pair * n * m + i * along + j * across];
        const Box& partner = others[pair].box[j];
        if (scale == 0 || !partner.valid) continue;
        const auto parts = kOfA ? boxes::parts_of<true>(kind, box, partner) : boxes::parts_of<true>(kind, partner, box);
        boxes::add_gradient(parts, box, kOfA ? 0 : 1, scale, sum);
      }
      for (int k = 0; k < boxes::kParameters; ++k) out[row * boxes::kParameters + k] = static_cast<T>(sum[k]);
    }
  });
}

}  // namespace

Tensor box_iou_cpu(const Tensor a, const Tensor b, int64_t kind) {
  boxes::check_pairs(a, b, kind, "box_iou");
  const Tensor ca = as_contiguous(a), cb = as_contiguous(b);
  Tensor values = make_empty(a, {a.size(0), a.size(1), b.size(1)}, a.scalar_type());
  a.scalar_type() == ScalarType::Float ? all_values<float>(ca, cb, kind, values)
                                       : all_values<double>(ca, cb, kind, values);
  return values;
}

std::tuple<Tensor, Tensor> box_iou_backward_cpu(const Tensor grad, const Tensor a, const Tensor b, int64_t kind) {
  const char* op = "box_iou_backward";
  boxes::check_pairs(a, b, kind, op);
  boxes::check_grad(grad, a, b, op);
  const Tensor g = as_contiguous(grad), ca = as_contiguous(a), cb = as_contiguous(b);
  Tensor grad_a = torch::stable::new_empty(a, a.sizes(), a.scalar_type());
  Tensor grad_b = torch::stable::new_empty(b, b.sizes(), b.scalar_type());
  if (a.scalar_type() == ScalarType::Float) {
    rows_gradient<float, true>(ca, cb, g, kind, grad_a);
    rows_gradient<float, false>(cb, ca, g, kind, grad_b);
  } else {
    rows_gradient<double, true>(ca, cb, g, kind, grad_a);
    rows_gradient<double, false>(cb, ca, g, kind, grad_b);
  }
  return {grad_a, grad_b};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou_cpu));
  m.impl("box_iou_backward", TORCH_BOX(&box_iou_backward_cpu));
}

}  // namespace mae3d
