// Sparse convolution over occupied cells of a 1-, 2- or 3-dimensional grid.
//
// A kernel offset k in [0, K), K = product of kernel_size, counts the kernel cells with the last axis fastest.
// A table says which rows meet at which offset:
//   gather  [K, V_out] int32   row of the input that offset k of output row o reads, -1 where that cell is empty
//   scatter [K, V_in]  int32   its inverse: scatter[k, i] = o exactly where gather[k, o] = i, else -1
// For an output cell p the offset k reads the input cell p * stride - padding + k * dilation (per axis), so a
// convolution equals the dense cross-correlation (torch.nn.functional.conv3d) at its output cells.
//
// sparse_conv_submanifold(coordinates, spatial_shape, batch_size, kernel_size, dilation, validate) -> gather
//   coordinates   [V, 1 + D] int32: batch, then the cell along each axis (z, y, x); D = 1, 2 or 3
//   spatial_shape [D] cells per axis; batch_size >= 0; batch_size * product(spatial_shape + margin) < 2^62
//   gather        [K, V]: outputs are the inputs, stride 1, padding = kernel_size / 2 * dilation
//   validate      rows outside the grid and repeated cells are errors that name the row. Without it (CUDA: no
//                 host synchronisation) such rows are treated as absent; of equal cells the lowest row counts.
// sparse_conv_strided(coordinates, spatial_shape, batch_size, kernel_size, stride, padding, dilation, validate)
//     -> (output coordinates [V_out, 1 + D] int32, gather, scatter)
//   Output cells are all that at least one input reaches, in ascending order of (batch, z, y, x). On CUDA their
//   number is read back once.
// sparse_conv(features, weight, bias, gather, scatter, transposed) -> [V_out, C_out]
//   features [V_in, C_in], weight [C_out, K, C_in] (spconv 2), bias [C_out] or none, all of one dtype:
//   float32, float64, float16 or bfloat16; half types accumulate in float32 and round once.
//   transposed: weight is [C_in, K, C_out] instead, the form that the gradient of the features needs.
//   scatter: used by the gradient alone; none says that gather[k, o] = i exactly where gather[K-1-k, i] = o.
//   Table entries >= V_in are an error on the CPU and count as empty on CUDA.
// sparse_conv_weight_grad(features, grad, gather, scatter, transposed) -> [C_out, K, C_in]
//   (transposed: [C_in, K, C_out]): the gradient of the weight, sum over pairs of grad[o] x features[i].
//
// All results are the same for every number of threads and every run.
#pragma once

#include <array>
#include <limits>

#include "../common/checks.h"

namespace mae3d::sparse_conv {

// Grid and kernel, padded to three axes by leading axes of one cell.
struct Geometry {
  int64_t axes;  // D
  int64_t batch;
  int64_t shape[3], kernel[3], stride[3], padding[3], dilation[3], output[3];
  int64_t volume() const { return kernel[0] * kernel[1] * kernel[2]; }
};

constexpr int64_t kMaxCells = int64_t{1} << 62;

// batch * product(shape), or an error where the cell numbers would not fit.
inline int64_t count_cells(const char* op, int64_t batch, const int64_t* shape) {
  __int128 cells = batch;
  for (int a = 0; a < 3; ++a) {
    cells *= shape[a];
    MAE3D_CHECK(cells < kMaxCells, op, ": the grid has 2^62 cells or more, too many to number");
  }
  return static_cast<int64_t>(cells);
}

inline void read_axes(const char* op, const char* name, const std::vector<int64_t>& values, int64_t axes, int64_t low,
                      int64_t fill, int64_t* out) {
  MAE3D_CHECK(static_cast<int64_t>(values.size()) == axes, op, ": '", name, "' must hold ", axes,
              " values, one per axis, got ", values.size());
  for (int64_t a = 0; a < 3; ++a) {
    const int64_t value = a < 3 - axes ? fill : values[static_cast<size_t>(a - (3 - axes))];
    MAE3D_CHECK(value >= low && value <= std::numeric_limits<int32_t>::max(), op, ": '", name, "' must be in [", low,
                ", 2^31 - 1], got ", value);
    out[a] = value;
  }
}

// Checks everything but the values of the coordinates.
inline Geometry read_geometry(const char* op, const Tensor& coordinates, const std::vector<int64_t>& shape,
                              int64_t batch, const std::vector<int64_t>& kernel, const std::vector<int64_t>& stride,
                              const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation) {
  check_dtype(coordinates, ScalarType::Int, op, "coordinates");
  check_dim(coordinates, 2, op, "coordinates");
  Geometry g{};
  g.axes = coordinates.size(1) - 1;
  g.batch = batch;
  MAE3D_CHECK(g.axes >= 1 && g.axes <= 3, op, ": 'coordinates' must have 2, 3 or 4 columns (batch, [z, [y,]] x), got ",
              coordinates.size(1));
  MAE3D_CHECK(coordinates.size(0) < std::numeric_limits<int32_t>::max(), op, ": 'coordinates' has too many rows");
  MAE3D_CHECK(batch >= 0 && batch <= std::numeric_limits<int32_t>::max(), op, ": 'batch_size' must be >= 0, got ", batch);
  read_axes(op, "spatial_shape", shape, g.axes, 1, 1, g.shape);
  read_axes(op, "kernel_size", kernel, g.axes, 1, 1, g.kernel);
  read_axes(op, "stride", stride, g.axes, 1, 1, g.stride);
  read_axes(op, "padding", padding, g.axes, 0, 0, g.padding);
  read_axes(op, "dilation", dilation, g.axes, 1, 1, g.dilation);
  MAE3D_CHECK(g.kernel[0] * g.kernel[1] <= 65536 && g.volume() <= 65536, op,
              ": 'kernel_size' must have at most 65536 cells");
  return g;
}

// `cell` is row `row` of the coordinates, in host memory.
[[noreturn]] inline void fail_outside(const char* op, const Geometry& g, const int32_t* cell, int64_t row) {
  std::ostringstream at, grid;
  for (int64_t a = 0; a <= g.axes; ++a) at << (a ? ", " : "") << cell[a];
  for (int64_t a = 3 - g.axes; a < 3; ++a) grid << (a > 3 - g.axes ? ", " : "") << g.shape[a];
  fail(op, ": 'coordinates' row ", row, " is (", at.str(), "), outside a batch of ", g.batch, " grids of shape [",
       grid.str(), "]; drop such rows first");
}

[[noreturn]] inline void fail_repeated(const char* op, int64_t first, int64_t second) {
  fail(op, ": 'coordinates' rows ", first, " and ", second,
       " are the same cell; merge the features of equal cells first (voxelise with a mean or a max)");
}

// True if the table of a submanifold convolution is its own mirror image.
inline bool is_mirrored(const Geometry& g) { return (g.kernel[0] & g.kernel[1] & g.kernel[2] & 1) == 1; }

// Cells reached by a strided convolution along each axis; at least 1.
inline void read_output_shape(const char* op, Geometry& g) {
  for (int a = 0; a < 3; ++a) {
    const int64_t reach = g.shape[a] + 2 * g.padding[a] - g.dilation[a] * (g.kernel[a] - 1) - 1;
    MAE3D_CHECK(reach >= 0, op, ": the kernel (", g.kernel[a], " cells, dilation ", g.dilation[a],
                ") is larger than the padded grid (", g.shape[a], " + 2 * ", g.padding[a], ") on axis ",
                a - (3 - g.axes));
    g.output[a] = reach / g.stride[a] + 1;
  }
}

// Shapes and dtypes of one product; `grad` stands for the result where there is one.
inline void check_product(const char* op, const Tensor& features, const Tensor& gather) {
  check_dim(features, 2, op, "features");
  check_dim(gather, 2, op, "gather");
  check_dtype(gather, ScalarType::Int, op, "gather");
  check_same_device(features, gather, op, "gather");
  MAE3D_CHECK(features.size(0) < std::numeric_limits<int32_t>::max(), op, ": 'features' has too many rows");
  MAE3D_CHECK(gather.size(1) < std::numeric_limits<int32_t>::max(), op, ": 'gather' has too many columns");
}

inline void check_scatter(const char* op, const OptionalTensor& scatter, const Tensor& features, const Tensor& gather) {
  if (!scatter.has_value()) return;
  check_dim(*scatter, 2, op, "scatter");
  check_dtype(*scatter, ScalarType::Int, op, "scatter");
  check_size(*scatter, 0, gather.size(0), op, "scatter");
  check_size(*scatter, 1, features.size(0), op, "scatter");
}

inline void check_weight(const char* op, const Tensor& features, const Tensor& weight, const OptionalTensor& bias,
                         const Tensor& gather, bool transposed) {
  check_dim(weight, 3, op, "weight");
  check_dtype(weight, features.scalar_type(), op, "weight");
  check_same_device(features, weight, op, "weight");
  check_size(weight, 1, gather.size(0), op, "weight");
  check_size(weight, transposed ? 0 : 2, features.size(1), op, "weight");
  if (!bias.has_value()) return;
  check_dim(*bias, 1, op, "bias");
  check_dtype(*bias, features.scalar_type(), op, "bias");
  check_same_device(features, *bias, op, "bias");
  check_size(*bias, 0, weight.size(transposed ? 2 : 0), op, "bias");
}

}  // namespace mae3d::sparse_conv
