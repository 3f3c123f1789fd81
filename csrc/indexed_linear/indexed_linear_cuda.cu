// Rows are sorted once by the matrix that they use. No atomics on floats, hence one order of additions.
#include "feature_grad.cuh"
#include "forward.cuh"
#include "weight_grad.cuh"

namespace mae3d::indexed_linear {
namespace {

__global__ void count_kernel(const int64_t* index, const int64_t* group, int64_t rows, int64_t num_groups,
                             int64_t num_weights, unsigned long long* counts) {
  MAE3D_GRID_STRIDE(i, rows) {
    const int64_t k = index[i], t = group[i];
    if (t >= 0 && t < num_groups && k >= 0 && k < num_weights) atomicAdd(counts + t, 1ULL);
  }
}

std::tuple<Tensor, Tensor> indexed_linear(const Tensor& features, const Tensor& weight, const Tensor& index,
                                          const Tensor& group, int64_t num_groups, bool mean) {
  check_forward(features, weight, index, group, num_groups);
  const CudaScope scope(features);
  const Tensor f = as_contiguous(features), w = as_contiguous(weight), i = as_contiguous(index), t = as_contiguous(group);
  const Tensor counts = make_zeros(f, {num_groups}, ScalarType::Long);
  const int64_t rows = i.size(0);
  if (rows == 0 || num_groups == 0 || w.size(1) == 0 || w.size(2) == 0)
    return {make_zeros(f, {num_groups, w.size(2)}, w.scalar_type()), counts};
  const Tensor out = make_empty(f, {num_groups, w.size(2)}, w.scalar_type());
  count_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(
      cdata<int64_t>(i), cdata<int64_t>(t), rows, num_groups, w.size(0),
      reinterpret_cast<unsigned long long*>(mdata<int64_t>(counts)));
  dispatch_float(w, kForward, "weight",
                 [&](auto zero) { forward<decltype(zero)>(f, w, i, t, counts, mean, out, scope.stream); });
  return {out, counts};
}

Tensor indexed_linear_feature_grad(const Tensor& grad, const Tensor& weight, const Tensor& index, const Tensor& group,
                                   const Tensor& counts, bool mean) {
  check_feature_grad(grad, weight, index, group, counts);
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), w = as_contiguous(weight), i = as_contiguous(index), t = as_contiguous(group);
  const Tensor n = as_contiguous(counts);
  const Tensor out = make_zeros(g, {i.size(0), w.size(1)}, g.scalar_type());
  if (i.size(0) == 0 || g.size(0) == 0 || w.size(0) == 0 || w.size(1) == 0) return out;
  dispatch_float(g, kFeatureGrad, "grad", [&](auto zero) {
    feature_grad<decltype(zero)>(g, w, i, t, mean ? cdata<int64_t>(n) : nullptr, out, scope.stream);
  });
  return out;
}

Tensor indexed_linear_weight_grad(const Tensor& grad, const Tensor& features, const Tensor& index, const Tensor& group,
                                  const Tensor& counts, int64_t num_weights, bool mean) {
  check_weight_grad(grad, features, index, group, counts, num_weights);
  const CudaScope scope(grad);
  const Tensor g = as_contiguous(grad), f = as_contiguous(features), i = as_contiguous(index), t = as_contiguous(group);
  const Tensor n = as_contiguous(counts);
  if (i.size(0) == 0 || g.size(0) == 0 || num_weights * f.size(1) * g.size(1) == 0)
    return make_zeros(g, {num_weights, f.size(1), g.size(1)}, g.scalar_type());
  const Tensor out = make_empty(g, {num_weights, f.size(1), g.size(1)}, g.scalar_type());
  dispatch_float(g, kWeightGrad, "grad", [&](auto zero) {
    weight_grad<decltype(zero)>(g, f, i, t, mean ? cdata<int64_t>(n) : nullptr, out, scope.stream);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("indexed_linear", TORCH_BOX(&indexed_linear));
  m.impl("indexed_linear_feature_grad", TORCH_BOX(&indexed_linear_feature_grad));
  m.impl("indexed_linear_weight_grad", TORCH_BOX(&indexed_linear_weight_grad));
}

}  // namespace mae3d::indexed_linear
