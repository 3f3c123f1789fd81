// Kernels over every floating-point dtype: which type they accumulate in, and the switch over dtypes.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <type_traits>

#include "checks.h"

namespace mae3d {

template <typename T> using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Calls f with a value of the element type of `t`; an error naming the argument for any other dtype.
template <typename F> auto dispatch_float(const Tensor& t, const char* op, const char* name, const F& f) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return f(float{});
    case ScalarType::Double: return f(double{});
    case ScalarType::Half: return f(torch::headeronly::Half{});
    case ScalarType::BFloat16: return f(torch::headeronly::BFloat16{});
    default: fail(op, ": '", name, "' must be a floating-point tensor, got ", toString(t.scalar_type()));
  }
}

}  // namespace mae3d
