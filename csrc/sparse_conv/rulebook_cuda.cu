// Neighbour tables of sparse convolutions on the device.
//
// Submanifold: a hash of cell numbers in device memory, one question per (offset, row). Strided: one stable sort
// of (output cell, offset, row); a run of equal cells is an output, and repeated inputs are neighbours in it.
// Nothing depends on the schedule: the hash keeps the lowest row of a cell whoever comes first.
#include "../common/sorted_groups.cuh"
#include "sparse_conv.h"

namespace mae3d::sparse_conv {
namespace {

constexpr int kThreads = 256;
constexpr const char* kSubmanifold = "sparse_conv_submanifold";
constexpr const char* kStrided = "sparse_conv_strided";
constexpr uint64_t kMix = 0x9E3779B97F4A7C15ull;  // 2^64 / golden ratio
constexpr uint64_t kNone = ~uint64_t{0};

// What a kernel found: the number of outputs, the first row outside the grid, the first repeated row and, in its
// low half, the row that it repeats. kNone where there is none.
struct Findings {
  unsigned long long outputs, outside, repeated;
};

__device__ bool read_cell(const Geometry& g, const int32_t* coordinates, int64_t row, int64_t cell[4]) {
  const int32_t* c = coordinates + row * (g.axes + 1);
  const int64_t missing = 3 - g.axes;
  cell[0] = c[0];
  bool inside = cell[0] >= 0 && cell[0] < g.batch;
  for (int64_t a = 0; a < 3; ++a) {
    cell[a + 1] = a < missing ? 0 : c[1 + a - missing];
    inside = inside && cell[a + 1] >= 0 && cell[a + 1] < g.shape[a];
  }
  return inside;
}

void check_findings(const char* op, const Geometry& g, const Tensor& coordinates, const Findings& found,
                    cudaStream_t stream) {
  if (found.outside != kNone) {
    int32_t cell[4] = {};
    const int64_t width = g.axes + 1, row = static_cast<int64_t>(found.outside);
    check_cuda(cudaMemcpyAsync(cell, cdata<int32_t>(coordinates) + row * width, width * sizeof(int32_t),
                               cudaMemcpyDeviceToHost, stream), op);
    check_cuda(cudaStreamSynchronize(stream), op);
    fail_outside(op, g, cell, row);
  }
  if (found.repeated != kNone)
    fail_repeated(op, static_cast<int64_t>(found.repeated & 0xffffffffu), static_cast<int64_t>(found.repeated >> 32));
}

Findings read_findings(const char* op, const Tensor& findings, cudaStream_t stream) {
  Findings host{};
  check_cuda(cudaMemcpyAsync(&host, findings.data_ptr(), sizeof host, cudaMemcpyDeviceToHost, stream), op);
  check_cuda(cudaStreamSynchronize(stream), op);
  return host;
}

Tensor make_findings(const char* op, const Tensor& like, cudaStream_t stream) {
  Tensor findings = make_empty(like, {3}, ScalarType::Long);
  check_cuda(cudaMemsetAsync(findings.mutable_data_ptr(), 0xff, sizeof(Findings), stream), op);
  return findings;
}

// Open addressing, at most half full. Empty slots: number -1, row 2^32 - 1.
struct DeviceTable {
  unsigned long long* numbers;
  unsigned* rows;
  uint64_t mask;
  int shift;
};

__device__ uint64_t home(const DeviceTable& t, int64_t number) {
  return (static_cast<uint64_t>(number) * kMix) >> t.shift;
}

__device__ int32_t find(const DeviceTable& t, int64_t number) {
  for (uint64_t at = home(t, number);; at = (at + 1) & t.mask) {
    const unsigned long long here = t.numbers[at];
    if (here == static_cast<unsigned long long>(number)) return static_cast<int32_t>(t.rows[at]);
    if (here == kNone) return -1;
  }
}

struct Margin {
  int64_t reach[3], padded[3];  // cells around the grid; cells along each axis with them
};

__global__ void enter_cells_kernel(const int32_t* coordinates, int64_t rows, Geometry g, Margin m, DeviceTable table,
                                   int64_t* cells, Findings* findings) {
  MAE3D_GRID_STRIDE(r, rows) {
    int64_t c[4];
    const bool inside = read_cell(g, coordinates, r, c);
    const int64_t number =
        ((c[0] * m.padded[0] + c[1] + m.reach[0]) * m.padded[1] + c[2] + m.reach[1]) * m.padded[2] + c[3] + m.reach[2];
    cells[r] = inside ? number : -1;
    if (!inside) {
      atomicMin(&findings->outside, static_cast<unsigned long long>(r));
      continue;
    }
    for (uint64_t at = home(table, number);; at = (at + 1) & table.mask) {
      const unsigned long long wanted = static_cast<unsigned long long>(number);
      const unsigned long long before = atomicCAS(&table.numbers[at], static_cast<unsigned long long>(kNone), wanted);
      if (before != kNone && before != wanted) continue;
      atomicMin(&table.rows[at], static_cast<unsigned>(r));
      break;
    }
  }
}

__global__ void drop_repeated_kernel(int64_t* cells, int64_t rows, DeviceTable table, Findings* findings) {
  MAE3D_GRID_STRIDE(r, rows) {
    const int32_t first = cells[r] < 0 ? static_cast<int32_t>(r) : find(table, cells[r]);
    if (first == r) continue;
    atomicMin(&findings->repeated, static_cast<unsigned long long>(r) << 32 | static_cast<unsigned>(first));
    cells[r] = -1;
  }
}

__global__ void neighbours_kernel(const int64_t* cells, int64_t rows, int64_t volume, Geometry g, Margin m,
                                  DeviceTable table, int32_t* gather) {
  MAE3D_GRID_STRIDE(i, volume * rows) {
    const int64_t k = i / rows, cell = cells[i % rows];
    const int64_t x = k % g.kernel[2] * g.dilation[2] - m.reach[2];
    const int64_t y = k / g.kernel[2] % g.kernel[1] * g.dilation[1] - m.reach[1];
    const int64_t z = k / (g.kernel[2] * g.kernel[1]) * g.dilation[0] - m.reach[0];
    gather[i] = cell < 0 ? -1 : find(table, cell + (z * m.padded[1] + y) * m.padded[2] + x);
  }
}

Tensor submanifold(const Tensor& coordinates, std::vector<int64_t> spatial_shape, int64_t batch_size,
                   std::vector<int64_t> kernel_size, std::vector<int64_t> dilation, bool validate) {
  const std::vector<int64_t> ones(spatial_shape.size(), 1), zeros(spatial_shape.size(), 0);
  const Geometry g =
      read_geometry(kSubmanifold, coordinates, spatial_shape, batch_size, kernel_size, ones, zeros, dilation);
  Margin m{};
  for (int a = 0; a < 3; ++a) {
    m.reach[a] = g.kernel[a] / 2 * g.dilation[a];
    m.padded[a] = g.shape[a] + 2 * m.reach[a];
  }
  count_cells(kSubmanifold, g.batch, m.padded);
  const CudaScope scope(coordinates);
  const Tensor given = as_contiguous(coordinates);
  const int64_t rows = given.size(0), volume = g.volume();
  Tensor gather = make_empty(coordinates, {volume, rows}, ScalarType::Int);
  if (rows == 0) return gather;

  const uint64_t slots = std::bit_ceil(static_cast<uint64_t>(2 * rows));
  Tensor numbers = make_empty(given, {static_cast<int64_t>(slots)}, ScalarType::Long);
  Tensor owners = make_empty(given, {static_cast<int64_t>(slots)}, ScalarType::Int);
  check_cuda(cudaMemsetAsync(numbers.mutable_data_ptr(), 0xff, slots * 8, scope.stream), kSubmanifold);
  check_cuda(cudaMemsetAsync(owners.mutable_data_ptr(), 0xff, slots * 4, scope.stream), kSubmanifold);
  const DeviceTable table{static_cast<unsigned long long*>(numbers.mutable_data_ptr()),
                          static_cast<unsigned*>(owners.mutable_data_ptr()), slots - 1,
                          64 - static_cast<int>(std::bit_width(slots - 1))};
  const Tensor cells = make_empty(given, {rows}, ScalarType::Long);
  Tensor found = make_findings(kSubmanifold, given, scope.stream);
  auto* findings = static_cast<Findings*>(found.mutable_data_ptr());
  enter_cells_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(cdata<int32_t>(given), rows, g, m, table,
                                                                              mdata<int64_t>(cells), findings);
  drop_repeated_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(mdata<int64_t>(cells), rows, table,
                                                                                findings);
  neighbours_kernel<<<grid_for(volume * rows, kThreads), kThreads, 0, scope.stream>>>(
      cdata<int64_t>(cells), rows, volume, g, m, table, mdata<int32_t>(gather));
  check_cuda(cudaGetLastError(), kSubmanifold);
  if (validate) check_findings(kSubmanifold, g, given, read_findings(kSubmanifold, found, scope.stream), scope.stream);
  return gather;
}

// Candidate c = k * rows + r: the output cell that row r reaches at offset k, or `none`.
__global__ void candidates_kernel(const int32_t* coordinates, int64_t rows, int64_t volume, Geometry g, int64_t none,
                                  int64_t* keys, Findings* findings) {
  MAE3D_GRID_STRIDE(i, volume * rows) {
    const int64_t r = i % rows, k = i / rows;
    const int64_t offset[3] = {k / (g.kernel[2] * g.kernel[1]), k / g.kernel[2] % g.kernel[1], k % g.kernel[2]};
    int64_t cell[4];
    bool reaches = read_cell(g, coordinates, r, cell);
    if (!reaches && k == 0) atomicMin(&findings->outside, static_cast<unsigned long long>(r));
    int64_t number = cell[0];
    for (int a = 0; a < 3; ++a) {
      const int64_t at = cell[a + 1] + g.padding[a] - offset[a] * g.dilation[a];
      reaches = reaches && at >= 0 && at % g.stride[a] == 0 && at / g.stride[a] < g.output[a];
      number = reaches ? number * g.output[a] + at / g.stride[a] : 0;
    }
    keys[i] = reaches ? number : none;
  }
}

// Whether sorted position j holds the same output cell and offset as the one before: a repeated input cell.
__device__ bool repeats(const int64_t* keys, const int32_t* candidate, int64_t j, int64_t rows) {
  return j > 0 && keys[j] == keys[j - 1] && candidate[j] / rows == candidate[j - 1] / rows;
}

__global__ void examine_kernel(const int64_t* keys, const int32_t* candidate, const int32_t* number, int64_t count,
                               int64_t rows, int64_t none, Findings* findings) {
  MAE3D_GRID_STRIDE(j, count) {
    if (j == count - 1) findings->outputs = static_cast<unsigned long long>(number[j] - (keys[j] == none ? 1 : 0));
    if (keys[j] == none || !repeats(keys, candidate, j, rows)) continue;
    atomicMin(&findings->repeated, static_cast<unsigned long long>(candidate[j] % rows) << 32 |
                                       static_cast<unsigned>(candidate[j - 1] % rows));
  }
}

__global__ void fill_tables_kernel(const int64_t* keys, const int32_t* candidate, const int32_t* number, int64_t count,
                                   int64_t rows, int64_t outputs, int64_t none, Geometry g, int32_t* cells,
                                   int32_t* gather, int32_t* scatter) {
  MAE3D_GRID_STRIDE(j, count) {
    const int64_t c = candidate[j], output = number[j] - 1;
    const bool used = keys[j] != none && !repeats(keys, candidate, j, rows);
    scatter[c] = used ? static_cast<int32_t>(output) : -1;
    if (!used) continue;
    gather[c / rows * outputs + output] = static_cast<int32_t>(c % rows);
    if (j > 0 && keys[j] == keys[j - 1]) continue;
    int64_t rest = keys[j];
    int32_t* cell = cells + output * (g.axes + 1);
    for (int64_t a = 2; a >= 3 - g.axes; --a) {
      cell[1 + a - (3 - g.axes)] = static_cast<int32_t>(rest % g.output[a]);
      rest /= g.output[a];
    }
    cell[0] = static_cast<int32_t>(rest);
  }
}

std::tuple<Tensor, Tensor, Tensor> strided(const Tensor& coordinates, std::vector<int64_t> spatial_shape,
                                           int64_t batch_size, std::vector<int64_t> kernel_size,
                                           std::vector<int64_t> stride, std::vector<int64_t> padding,
                                           std::vector<int64_t> dilation, bool validate) {
  Geometry g =
      read_geometry(kStrided, coordinates, spatial_shape, batch_size, kernel_size, stride, padding, dilation);
  read_output_shape(kStrided, g);
  const int64_t none = count_cells(kStrided, g.batch, g.output);
  const CudaScope scope(coordinates);
  const Tensor given = as_contiguous(coordinates);
  const int64_t rows = given.size(0), volume = g.volume(), count = rows * volume;
  MAE3D_CHECK(count < std::numeric_limits<int32_t>::max(), kStrided, ": ", rows, " rows times ", volume,
              " kernel cells is more than 2^31 - 1");
  Tensor scatter = make_empty(coordinates, {volume, rows}, ScalarType::Int);
  if (rows == 0)
    return {make_empty(coordinates, {0, g.axes + 1}, ScalarType::Int), make_empty(coordinates, {volume, 0}, ScalarType::Int),
            scatter};

  const Tensor keys = make_empty(given, {count}, ScalarType::Long);
  Tensor found = make_findings(kStrided, given, scope.stream);
  auto* findings = static_cast<Findings*>(found.mutable_data_ptr());
  candidates_kernel<<<grid_for(count, kThreads), kThreads, 0, scope.stream>>>(cdata<int32_t>(given), rows, volume, g,
                                                                              none, mdata<int64_t>(keys), findings);
  const SortedRows sorted = sort_rows(keys, bits_for(none), scope.stream, kStrided);
  const Runs runs = number_runs(sorted.keys, scope.stream, kStrided);
  examine_kernel<<<grid_for(count, kThreads), kThreads, 0, scope.stream>>>(cdata<int64_t>(sorted.keys),
                                                                           cdata<int32_t>(sorted.rows),
                                                                           cdata<int32_t>(runs.number), count, rows,
                                                                           none, findings);
  check_cuda(cudaGetLastError(), kStrided);
  const Findings host = read_findings(kStrided, found, scope.stream);
  if (validate) check_findings(kStrided, g, given, host, scope.stream);
  const int64_t outputs = static_cast<int64_t>(host.outputs);
  Tensor cells = make_empty(coordinates, {outputs, g.axes + 1}, ScalarType::Int);
  Tensor gather = make_empty(coordinates, {volume, outputs}, ScalarType::Int);
  check_cuda(cudaMemsetAsync(gather.mutable_data_ptr(), 0xff, static_cast<size_t>(volume * outputs) * 4, scope.stream),
             kStrided);
  fill_tables_kernel<<<grid_for(count, kThreads), kThreads, 0, scope.stream>>>(cdata<int64_t>(sorted.keys),
                                                                               cdata<int32_t>(sorted.rows),
                                                                               cdata<int32_t>(runs.number), count, rows,
                                                                               outputs, none, g, mdata<int32_t>(cells),
                                                                               mdata<int32_t>(gather),
                                                                               mdata<int32_t>(scatter));
  check_cuda(cudaGetLastError(), kStrided);
  return {cells, gather, scatter};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("sparse_conv_submanifold", TORCH_BOX(&submanifold));
  m.impl("sparse_conv_strided", TORCH_BOX(&strided));
}

}  // namespace mae3d::sparse_conv
