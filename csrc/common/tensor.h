// Short names for the stable-ABI tensor API. Every kernel file includes this and nothing else of torch.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <tuple>
#include <vector>

namespace mae3d {

using torch::stable::Tensor;
using ScalarType = torch::headeronly::ScalarType;
using OptionalTensor = std::optional<Tensor>;

template <typename T> const T* cdata(const Tensor& t) { return static_cast<const T*>(t.data_ptr()); }
template <typename T> T* mdata(const Tensor& t) { return static_cast<T*>(t.mutable_data_ptr()); }

// An uninitialised contiguous tensor of `sizes` on the device of `like`.
inline Tensor make_empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_empty(like, sizes, dtype);
}
inline Tensor make_empty(const Tensor& like, const std::vector<int64_t>& sizes, ScalarType dtype) {
  return torch::stable::new_empty(like, sizes, dtype);
}
inline Tensor make_zeros(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_zeros(like, sizes, dtype);
}

inline Tensor as_contiguous(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }

}  // namespace mae3d
