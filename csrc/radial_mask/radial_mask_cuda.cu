// CUDA radial masking: groups per voxel; ranking inside groups by one stable sort of (group, score).
#include "../common/sorted_groups.cuh"
#include "radial_mask.h"

namespace mae3d {
namespace {

constexpr int kThreads = 256;

__global__ void groups_kernel(const int64_t* coordinates, int64_t n, RadialGeometry g, int64_t* groups,
                              unsigned long long* counts) {
  MAE3D_GRID_STRIDE(i, n) {
    const int64_t* c = coordinates + 4 * i;
    const double x = radial_position(c[3], g.scale[0], g.origin[0]);
    const double y = radial_position(c[2], g.scale[1], g.origin[1]);
    const double degrees = atan2(g.from_y ? x : y, g.from_y ? y : x) * (180.0 / 3.14159265358979323846);
    const bool known = c[0] >= 0 && c[0] < g.clouds;
    const int64_t cloud = g.shared ? 0 : c[0];
    const auto cell = static_cast<int64_t>(radial_cell(degrees, squared_norm(x, y), g));
    const int64_t group = known ? cloud * g.sectors * 3 + cell : -1;
    groups[i] = group;
    if (known) atomicAdd(counts + group, 1ull);  // integers: the order does not matter
  }
}

// Groups outside [0, total) go behind all others.
__global__ void select_keys_kernel(const int64_t* groups, const float* scores, int64_t n, int64_t total, int64_t* keys) {
  MAE3D_GRID_STRIDE(i, n) {
    const int64_t group = groups[i] >= 0 && groups[i] < total ? groups[i] : total;
    keys[i] = group << 32 | ordered_bits(scores[i]);
  }
}

__global__ void group_of_key_kernel(const int64_t* keys, int64_t n, int64_t* groups) {
  MAE3D_GRID_STRIDE(j, n) groups[j] = keys[j] >> 32;
}

__global__ void keep_ranked_kernel(const int64_t* groups, const int32_t* rows, const int32_t* number,
                                   const int32_t* begin, const int64_t* quota, int64_t n, int64_t total, int32_t* kept) {
  MAE3D_GRID_STRIDE(j, n) {
    const int64_t group = groups[j];
    kept[rows[j]] = group < total && j - begin[number[j] - 1] < quota[group];
  }
}

__global__ void keep_whole_kernel(const int64_t* groups, const int64_t* quota, int64_t n, int64_t total, int32_t* kept) {
  MAE3D_GRID_STRIDE(i, n) kept[i] = groups[i] >= 0 && groups[i] < total && quota[groups[i]] > 0;
}

__global__ void last_sum_kernel(const int32_t* sums, int64_t n, int64_t* out) { *out = n > 0 ? sums[n - 1] : 0; }

// sums[i]: visible voxels among rows 0 .. i.
__global__ void split_kernel(const int32_t* sums, int64_t n, int64_t* visible, int64_t* masked) {
  MAE3D_GRID_STRIDE(i, n) {
    const int32_t before = i ? sums[i - 1] : 0;
    if (sums[i] != before) visible[before] = i; else masked[i - before] = i;
  }
}

}  // namespace

std::tuple<Tensor, Tensor> radial_groups_cuda(const Tensor& coordinates, std::vector<double> scale,
                                              std::vector<double> origin, bool from_y, double sector_degrees,
                                              std::vector<double> bands, int64_t clouds, bool shared) {
  const RadialGeometry g =
      check_radial_arguments(coordinates, scale, origin, from_y, sector_degrees, bands, clouds, shared);
  const CudaScope scope(coordinates);
  const Tensor c = as_contiguous(coordinates);
  const int64_t n = c.size(0), total = (shared ? 1 : clouds) * g.sectors * 3;
  const Tensor groups = make_empty(c, {n}, ScalarType::Long), counts = make_zeros(c, {total}, ScalarType::Long);
  groups_kernel<<<grid_for(n, kThreads), kThreads, 0, scope.stream>>>(
      cdata<int64_t>(c), n, g, mdata<int64_t>(groups),
      reinterpret_cast<unsigned long long*>(mdata<int64_t>(counts)));
  check_cuda(cudaGetLastError(), "radial_groups");
  return {groups, counts};
}

std::tuple<Tensor, Tensor> radial_select_cuda(const Tensor& groups, const Tensor& quota, const Tensor& scores) {
  const char* op = "radial_select";
  check_select_arguments(groups, quota, scores);
  const CudaScope scope(groups);
  const Tensor g = as_contiguous(groups), q = as_contiguous(quota), s = as_contiguous(scores);
  const int64_t n = g.size(0), total = q.size(0);
  const unsigned blocks = grid_for(n, kThreads);
  const Tensor sums = make_empty(g, {n}, ScalarType::Int);
  if (s.size(0) == 0) {
    keep_whole_kernel<<<blocks, kThreads, 0, scope.stream>>>(cdata<int64_t>(g), cdata<int64_t>(q), n, total,
                                                             mdata<int32_t>(sums));
  } else {
    const Tensor keys = make_empty(g, {n}, ScalarType::Long);
    select_keys_kernel<<<blocks, kThreads, 0, scope.stream>>>(cdata<int64_t>(g), cdata<float>(s), n, total,
                                                              mdata<int64_t>(keys));
    const SortedRows sorted = sort_rows(keys, 32 + bits_for(total), scope.stream, op);
    const Tensor group = make_empty(g, {n}, ScalarType::Long);
    group_of_key_kernel<<<blocks, kThreads, 0, scope.stream>>>(cdata<int64_t>(sorted.keys), n, mdata<int64_t>(group));
    const Runs runs = number_runs(group, scope.stream, op);
    keep_ranked_kernel<<<blocks, kThreads, 0, scope.stream>>>(
        cdata<int64_t>(group), cdata<int32_t>(sorted.rows), cdata<int32_t>(runs.number), cdata<int32_t>(runs.begin),
        cdata<int64_t>(q), n, total, mdata<int32_t>(sums));
  }
  inclusive_sum(sums, scope.stream, op);
  const Tensor count = make_empty(g, {1}, ScalarType::Long);
  last_sum_kernel<<<1, 1, 0, scope.stream>>>(cdata<int32_t>(sums), n, mdata<int64_t>(count));
  const int64_t visible_count = read_back(cdata<int64_t>(count), scope.stream, op);
  const Tensor visible = make_empty(g, {visible_count}, ScalarType::Long);
  const Tensor masked = make_empty(g, {n - visible_count}, ScalarType::Long);
  split_kernel<<<blocks, kThreads, 0, scope.stream>>>(cdata<int32_t>(sums), n, mdata<int64_t>(visible),
                                                      mdata<int64_t>(masked));
  check_cuda(cudaGetLastError(), op);
  return {visible, masked};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("radial_groups", TORCH_BOX(&radial_groups_cuda));
  m.impl("radial_select", TORCH_BOX(&radial_select_cuda));
}

}  // namespace mae3d
