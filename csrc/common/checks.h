// Validation shared by every operator. Messages start with the operator and name the argument, so that a
// kernel called through torch.ops directly is as safe as through the Python wrapper.
#pragma once

#include <sstream>
#include <stdexcept>

#include "tensor.h"

namespace mae3d {

template <typename... Parts> [[noreturn]] __attribute__((noinline)) void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

// MAE3D_CHECK(k > 0, "knn: 'k' must be positive, got ", k)
#define MAE3D_CHECK(condition, ...) \
  do {                              \
    if (!(condition)) ::mae3d::fail(__VA_ARGS__); \
  } while (0)

inline void check_dtype(const Tensor& t, ScalarType dtype, const char* op, const char* name) {
  MAE3D_CHECK(t.scalar_type() == dtype, op, ": '", name, "' must have dtype ", toString(dtype), ", got ",
                  toString(t.scalar_type()));
}

inline void check_dim(const Tensor& t, int64_t dim, const char* op, const char* name) {
  MAE3D_CHECK(t.dim() == dim, op, ": '", name, "' must have ", dim, " dimensions, got ", t.dim());
}

inline void check_size(const Tensor& t, int64_t axis, int64_t size, const char* op, const char* name) {
  MAE3D_CHECK(t.size(axis) == size, op, ": '", name, "' must have size ", size, " on axis ", axis, ", got ",
                  t.size(axis));
}

inline void check_same_device(const Tensor& a, const Tensor& b, const char* op, const char* name) {
  MAE3D_CHECK(a.device() == b.device(), op, ": '", name, "' must be on the same device as the other inputs");
}

// Offsets of a packed batch, host memory: [B + 1] int64, first 0, never falling, last = total.
inline void check_offsets(const Tensor& offsets, int64_t total, const char* op, const char* name) {
  check_dtype(offsets, ScalarType::Long, op, name);
  check_dim(offsets, 1, op, name);
  MAE3D_CHECK(offsets.size(0) >= 1, op, ": '", name, "' must hold B + 1 values, got none");
  if (!offsets.is_cpu()) return;  // device kernels clamp instead of synchronising
  const Tensor c = as_contiguous(offsets);
  const int64_t* o = cdata<int64_t>(c);
  const int64_t n = c.size(0);
  MAE3D_CHECK(o[0] == 0, op, ": '", name, "' must start with 0, got ", o[0]);
  for (int64_t i = 1; i < n; ++i)
    MAE3D_CHECK(o[i] >= o[i - 1], op, ": '", name, "' must never fall, but entry ", i, " is ", o[i], " after ",
                    o[i - 1]);
  MAE3D_CHECK(o[n - 1] == total, op, ": '", name, "' must end with the number of rows ", total, ", got ",
                  o[n - 1]);
}

}  // namespace mae3d
