// CUDA voxelisation: keys, one stable radix sort of (key, row), then every result is read off the sorted runs.
// Voxels are numbered in sorted order by their run, in first-come order by a scan over the rows that open a run.
#include "../common/sorted_groups.cuh"
#include "voxelize.h"

namespace mae3d {
namespace {

constexpr int kThreads = 256;

__device__ bool axis_cell(float p, float low, float size, float cells, bool clamp, int64_t& cell) {
  float index = floorf(__fdiv_rn(__fsub_rn(p, low), size));
  if (clamp) index = fminf(fmaxf(index, 0.0f), cells - 1.0f);
  const bool inside = isfinite(p) && index >= 0.0f && index < cells;
  cell = inside ? static_cast<int64_t>(index) : 0;
  return inside;
}

// Dropped points get the key `none`, above every other.
__global__ void keys_kernel(const float* points, int64_t rows, int64_t width, const int64_t* offsets, int64_t clouds,
                            VoxelGeometry g, int64_t none, int64_t* keys) {
  MAE3D_GRID_STRIDE(i, rows) {
    int64_t low = 0, high = clouds;  // the cloud: last b with offsets[b] <= i
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (offsets[middle] <= i) low = middle; else high = middle;
    }
    const float* p = points + i * width;
    int64_t x, y, z;
    const bool in_x = axis_cell(p[0], g.low[0], g.size[0], g.cells[0], g.clamp, x);
    const bool in_y = axis_cell(p[1], g.low[1], g.size[1], g.cells[1], g.clamp, y);
    const bool in_z = axis_cell(p[2], g.low[2], g.size[2], g.cells[2], g.clamp, z);
    const bool keep = in_x && in_y && in_z && clouds > 0;
    keys[i] = keep ? ((low * g.grid[2] + z) * g.grid[1] + y) * g.grid[0] + x : none;
  }
}

__global__ void openers_kernel(const int64_t* keys, const int32_t* rows, const int32_t* number, int64_t n, int64_t none,
                               int32_t* opens) {
  MAE3D_GRID_STRIDE(j, n) {
    if (keys[j] != none && (j == 0 || number[j] != number[j - 1])) opens[rows[j]] = 1;
  }
}

// found[b]: voxels before cloud b; kept[b]: the same with each cloud capped. Few clouds: one thread walks them.
__global__ void offsets_kernel(const int32_t* opened, int64_t rows, const int64_t* offsets, int64_t clouds,
                               int64_t max_voxels, int64_t* found, int64_t* kept) {
  if (blockIdx.x || threadIdx.x) return;
  found[0] = kept[0] = 0;
  for (int64_t b = 1; b <= clouds; ++b) {
    const int64_t end = b == clouds ? rows : min(max(offsets[b], int64_t{0}), rows);
    const int64_t opened_before = end > 0 ? opened[end - 1] : 0;
    found[b] = max(found[b - 1], opened_before);
    kept[b] = kept[b - 1] + min(found[b] - found[b - 1], max_voxels);
  }
}

__device__ void write_cell(int64_t key, const VoxelGeometry& g, int64_t* out) {
  out[3] = key % g.grid[0];
  key /= g.grid[0];
  out[2] = key % g.grid[1];
  key /= g.grid[1];
  out[1] = key % g.grid[2];
  out[0] = key / g.grid[2];
}

struct Grouped {
  SortedRows sorted;
  Runs runs;
  Tensor opened;  // int32 [T]: voxels opened by rows 0 .. i
  Tensor found, kept;  // int64 [B + 1]
  int64_t none = 0, voxels = 0;
};

Grouped group_points(const Tensor& points, const Tensor& offsets, const VoxelGeometry& g, int64_t max_voxels,
                     cudaStream_t stream, const char* op) {
  const int64_t rows = points.size(0), clouds = offsets.size(0) - 1;
  Grouped out;
  out.none = clouds * g.per_cloud();
  const Tensor keys = make_empty(points, {rows}, ScalarType::Long);
  const unsigned blocks = grid_for(rows, kThreads);
  keys_kernel<<<blocks, kThreads, 0, stream>>>(cdata<float>(points), rows, points.size(1), cdata<int64_t>(offsets),
                                               clouds, g, out.none, mdata<int64_t>(keys));
  out.sorted = sort_rows(keys, bits_for(out.none), stream, op);
  out.runs = number_runs(out.sorted.keys, stream, op);
  out.opened = make_zeros(points, {rows}, ScalarType::Int);
  openers_kernel<<<blocks, kThreads, 0, stream>>>(cdata<int64_t>(out.sorted.keys), cdata<int32_t>(out.sorted.rows),
                                                  cdata<int32_t>(out.runs.number), rows, out.none,
                                                  mdata<int32_t>(out.opened));
  inclusive_sum(out.opened, stream, op);
  out.found = make_empty(points, {clouds + 1}, ScalarType::Long);
  out.kept = make_empty(points, {clouds + 1}, ScalarType::Long);
  offsets_kernel<<<1, 1, 0, stream>>>(cdata<int32_t>(out.opened), rows, cdata<int64_t>(offsets), clouds, max_voxels,
                                      mdata<int64_t>(out.found), mdata<int64_t>(out.kept));
  check_cuda(cudaGetLastError(), op);
  out.voxels = read_back(cdata<int64_t>(out.kept) + clouds, stream, op);
  return out;
}

// One view of the grouped points for the kernels that write results.
struct GroupView {
  const int64_t* keys;
  const int32_t *rows, *number, *begin, *opened;
  int64_t n, none;
  explicit GroupView(const Grouped& g)
      : keys(cdata<int64_t>(g.sorted.keys)), rows(cdata<int32_t>(g.sorted.rows)),
        number(cdata<int32_t>(g.runs.number)), begin(cdata<int32_t>(g.runs.begin)), opened(cdata<int32_t>(g.opened)),
        n(g.sorted.keys.size(0)), none(g.none) {}
};

__global__ void voxelize_kernel(GroupView v, VoxelGeometry g, bool sorted, int64_t* coordinates,
                                int64_t* point_to_voxel, int64_t* counts) {
  MAE3D_GRID_STRIDE(j, v.n) {
    const int64_t row = v.rows[j];
    if (v.keys[j] == v.none) {
      point_to_voxel[row] = -1;
      continue;
    }
    const int32_t run = v.number[j] - 1, first = v.begin[run];
    const int64_t voxel = sorted ? run : v.opened[v.rows[first]] - 1;
    point_to_voxel[row] = voxel;
    if (j != first) continue;
    write_cell(v.keys[j], g, coordinates + 4 * voxel);
    counts[voxel] = v.begin[run + 1] - first;
  }
}

__global__ void hard_kernel(GroupView v, VoxelGeometry g, const float* points, int64_t width, const int64_t* found,
                            const int64_t* kept, int64_t max_points, int64_t max_voxels, float* voxels,
                            int64_t* coordinates, int64_t* counts, int64_t* point_to_slot) {
  MAE3D_GRID_STRIDE(j, v.n) {
    const int64_t row = v.rows[j];
    point_to_slot[row] = -1;
    if (v.keys[j] == v.none) continue;
    const int32_t run = v.number[j] - 1, first = v.begin[run];
    const int64_t cloud = v.keys[j] / g.per_cloud();
    const int64_t number = v.opened[v.rows[first]] - 1 - found[cloud];  // within its cloud
    if (number >= max_voxels) continue;
    const int64_t voxel = kept[cloud] + number, rank = j - first;
    if (rank == 0) {
      write_cell(v.keys[j], g, coordinates + 4 * voxel);
      counts[voxel] = min(static_cast<int64_t>(v.begin[run + 1] - first), max_points);
    }
    if (rank >= max_points) continue;
    const int64_t slot = voxel * max_points + rank;
    point_to_slot[row] = slot;
    for (int64_t c = 0; c < width; ++c) voxels[slot * width + c] = points[row * width + c];
  }
}

__global__ void hard_backward_kernel(const float* grad, const int64_t* slot, int64_t n, int64_t width, int64_t total,
                                     float* out) {
  MAE3D_GRID_STRIDE(k, n) {
    const int64_t s = slot[k / width];
    out[k] = s >= 0 && s < total ? grad[s * width + k % width] : 0.0f;
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> voxelize_cuda(const Tensor& points, const Tensor& offsets,
                                                         std::vector<double> size, std::vector<double> low,
                                                         std::vector<int64_t> grid, bool clamp, bool sorted) {
  const VoxelGeometry geometry = check_voxel_arguments(points, offsets, size, low, grid, clamp, "voxelize");
  const CudaScope scope(points);
  const Tensor p = as_contiguous(points), o = as_contiguous(offsets);
  const int64_t rows = p.size(0);
  const Grouped g = group_points(p, o, geometry, rows + 1, scope.stream, "voxelize");
  const Tensor coordinates = make_empty(p, {g.voxels, 4}, ScalarType::Long);
  const Tensor point_to_voxel = make_empty(p, {rows}, ScalarType::Long);
  const Tensor counts = make_empty(p, {g.voxels}, ScalarType::Long);
  voxelize_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(
      GroupView(g), geometry, sorted, mdata<int64_t>(coordinates), mdata<int64_t>(point_to_voxel),
      mdata<int64_t>(counts));
  check_cuda(cudaGetLastError(), "voxelize");
  return {coordinates, point_to_voxel, counts, g.found};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> voxelize_hard_cuda(const Tensor& points, const Tensor& offsets,
                                                                      std::vector<double> size, std::vector<double> low,
                                                                      std::vector<int64_t> grid, int64_t max_points,
                                                                      int64_t max_voxels) {
  const VoxelGeometry geometry = check_voxel_arguments(points, offsets, size, low, grid, false, "voxelize_hard");
  MAE3D_CHECK(max_points >= 1, "voxelize_hard: 'max_points' must be at least 1, got ", max_points);
  MAE3D_CHECK(max_voxels >= 1, "voxelize_hard: 'max_voxels' must be at least 1, got ", max_voxels);
  const CudaScope scope(points);
  const Tensor p = as_contiguous(points), o = as_contiguous(offsets);
  const int64_t rows = p.size(0), width = p.size(1);
  const Grouped g = group_points(p, o, geometry, max_voxels, scope.stream, "voxelize_hard");
  const Tensor voxels = make_zeros(p, {g.voxels, max_points, width}, ScalarType::Float);
  const Tensor coordinates = make_empty(p, {g.voxels, 4}, ScalarType::Long);
  const Tensor counts = make_empty(p, {g.voxels}, ScalarType::Long);
  const Tensor point_to_slot = make_empty(p, {rows}, ScalarType::Long);
  hard_kernel<<<grid_for(rows, kThreads), kThreads, 0, scope.stream>>>(
      GroupView(g), geometry, cdata<float>(p), width, cdata<int64_t>(g.found), cdata<int64_t>(g.kept), max_points,
      max_voxels, mdata<float>(voxels), mdata<int64_t>(coordinates), mdata<int64_t>(counts),
      mdata<int64_t>(point_to_slot));
  check_cuda(cudaGetLastError(), "voxelize_hard");
  return {voxels, coordinates, counts, g.kept, point_to_slot};
}

Tensor voxelize_hard_backward_cuda(const Tensor& grad_voxels, const Tensor& point_to_slot) {
  check_hard_backward(grad_voxels, point_to_slot);
  const CudaScope scope(grad_voxels);
  const Tensor grad = as_contiguous(grad_voxels), slots = as_contiguous(point_to_slot);
  const int64_t rows = slots.size(0), width = grad.size(2);
  const Tensor out = make_empty(grad, {rows, width}, ScalarType::Float);
  hard_backward_kernel<<<grid_for(rows * width, kThreads), kThreads, 0, scope.stream>>>(
      cdata<float>(grad), cdata<int64_t>(slots), rows * width, width, grad.size(0) * grad.size(1), mdata<float>(out));
  check_cuda(cudaGetLastError(), "voxelize_hard_backward");
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("voxelize", TORCH_BOX(&voxelize_cuda));
  m.impl("voxelize_hard", TORCH_BOX(&voxelize_hard_cuda));
  m.impl("voxelize_hard_backward", TORCH_BOX(&voxelize_hard_backward_cuda));
}

}  // namespace mae3d
