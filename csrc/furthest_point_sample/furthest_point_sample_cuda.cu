#include <algorithm>
#include <atomic>
#include <optional>

#include "clouds.cuh"
#include "resident.cuh"
#include "stepwise.cuh"

namespace mae3d::fps {
namespace {

constexpr int64_t kBlockCapacity = 1024 * kPerThread;  // points in the registers of one multiprocessor
constexpr int64_t kTailFactor = 3;  // up to this many times the capacity, reading the rest beats a launch per sample

void check_cuda(cudaError_t error, const char* what) {
  MAE3D_CHECK(error == cudaSuccess, "furthest_point_sample: ", what, ": ", cudaGetErrorString(error));
}

cudaLaunchConfig_t cluster_config(int64_t clouds, int cluster, cudaStream_t stream, cudaLaunchAttribute* attribute) {
  attribute->id = cudaLaunchAttributeClusterDimension;
  attribute->val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(clouds * cluster));
  config.blockDim = dim3(1024);
  config.stream = stream;
  config.attrs = attribute;
  config.numAttrs = 1;
  return config;
}

// Largest cluster of full blocks that this device runs; 1 where there are none.
int find_max_cluster(int device) {
  int major = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cannot query the device");
  if (major < 9) return 1;
  const auto kernel = sample_resident<1024, true>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  for (int cluster = kMaxCluster; cluster > 1; cluster /= 2) {
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config = cluster_config(1, cluster, nullptr, &attribute);
    int active = 0;
    if (cudaOccupancyMaxActiveClusters(&active, kernel, &config) == cudaSuccess && active > 0) return cluster;
  }
  cudaGetLastError();  // a size that the device refuses is no error of the caller
  return 1;
}

int max_cluster(int device) {
  constexpr int kDevices = 64;
  static std::atomic<int> known[kDevices];  // 0: not yet asked
  if (device < 0 || device >= kDevices) return find_max_cluster(device);
  int cluster = known[device].load();
  if (cluster == 0) known[device].store(cluster = find_max_cluster(device));
  return cluster;
}

// Blocks per cloud for clouds of about `count` points.
int cluster_for(int64_t count, int device) {
  if (count <= kBlockCapacity) return 1;
  const int most = max_cluster(device);
  int cluster = 1;
  while (cluster < most && cluster * kBlockCapacity < count) cluster *= 2;
  return cluster;
}

template <int kThreads> void launch_blocks(const Clouds& clouds, int64_t batch, float* memory, cudaStream_t stream) {
  sample_resident<kThreads, false><<<static_cast<unsigned>(batch), kThreads, 0, stream>>>(clouds, memory);
}

void launch_resident(const Clouds& clouds, int64_t batch, int64_t count, int cluster, float* memory,
                     cudaStream_t stream) {
  if (cluster > 1) {
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config = cluster_config(batch, cluster, stream, &attribute);
    return check_cuda(cudaLaunchKernelEx(&config, sample_resident<1024, true>, clouds, memory), "launch failed");
  }
  if (count <= 128 * kPerThread) return launch_blocks<128>(clouds, batch, memory, stream);
  if (count <= 256 * kPerThread) return launch_blocks<256>(clouds, batch, memory, stream);
  if (count <= 512 * kPerThread) return launch_blocks<512>(clouds, batch, memory, stream);
  launch_blocks<1024>(clouds, batch, memory, stream);
}

void launch_steps(const Clouds& clouds, int64_t batch, int64_t count, int64_t samples, float* memory,
                  const Tensor& points, cudaStream_t stream) {
  const int64_t blocks = std::clamp<int64_t>(ceil_div<int64_t>(count, 4 * kStepThreads), 1, kMaxStepBlocks);
  const Tensor partial = make_empty(points, {2 * batch * blocks * 2}, ScalarType::Int);
  static_assert(sizeof(Best) == 2 * sizeof(int32_t));
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(batch));
  for (int64_t s = 0; s < samples; ++s)
    sample_step<<<grid, kStepThreads, 0, stream>>>(clouds, s, memory,
                                                   reinterpret_cast<Best*>(partial.mutable_data_ptr()));
}

// `count`: points of a cloud, exact where `samples` (per cloud) is known, else an estimate that only speed hangs on.
void sample(const Clouds& clouds, int64_t batch, int64_t count, std::optional<int64_t> samples, const Tensor& points,
            cudaStream_t stream) {
  const int cluster = cluster_for(count, points.get_device_index());
  MAE3D_CHECK(batch * cluster <= std::numeric_limits<int32_t>::max(), "furthest_point_sample: ", batch,
              " clouds are more than one launch takes");
  const bool stepwise = samples && count > kTailFactor * cluster * kBlockCapacity && batch <= 65535;
  const bool resident = samples && count <= cluster * kBlockCapacity;
  const Tensor distances = make_empty(points, {resident ? 0 : clouds.total_points}, ScalarType::Float);
  float* memory = mdata<float>(distances);
  if (stepwise)
    launch_steps(clouds, batch, count, *samples, memory, points, stream);
  else
    launch_resident(clouds, batch, count, cluster, memory, stream);
  check_cuda(cudaGetLastError(), "launch failed");
}

Tensor sample_dense(const Tensor& points, int64_t num_samples, const Tensor& start, double skip_squared_norm) {
  check_dense(points, num_samples, start, skip_squared_norm);
  const CudaScope scope(points);
  const int64_t batch = points.size(0), count = points.size(1);
  const Tensor indices = make_empty(points, {batch, num_samples}, ScalarType::Long);
  if (batch == 0 || num_samples == 0) return indices;
  const Tensor p = as_contiguous(points), first = as_contiguous(start);
  const Clouds clouds{cdata<float>(p), nullptr, nullptr, cdata<int64_t>(first), mdata<int64_t>(indices),
                      batch * count, batch * num_samples, count, num_samples, float_at_most(skip_squared_norm)};
  sample(clouds, batch, count, num_samples, p, scope.stream);
  return indices;
}

Tensor sample_packed(const Tensor& points, const Tensor& offsets, const Tensor& sample_offsets, int64_t total_samples,
                     const Tensor& start, double skip_squared_norm) {
  constexpr const char* op = "furthest_point_sample_packed";
  check_packed(points, offsets, sample_offsets, total_samples, start);
  const int64_t total = points.size(0), batch = start.size(0);
  MAE3D_CHECK(total <= kMaxCount, op, ": 'points' has ", total, " rows, more than 32-bit rows can name");
  const CudaScope scope(points);
  const Tensor indices = make_empty(points, {total_samples}, ScalarType::Long);
  if (total_samples == 0) return indices;
  const size_t bytes = static_cast<size_t>(total_samples) * sizeof(int64_t);
  check_cuda(cudaMemsetAsync(mdata<int64_t>(indices), 0xff, bytes, scope.stream), "cannot fill the result");  // -1
  if (batch == 0 || total == 0) return indices;
  const Tensor p = as_contiguous(points), first = as_contiguous(start);
  const Tensor from = as_contiguous(offsets), to = as_contiguous(sample_offsets);
  const Clouds clouds{cdata<float>(p), cdata<int64_t>(from), cdata<int64_t>(to), cdata<int64_t>(first),
                      mdata<int64_t>(indices), total, total_samples, 0, 0, float_at_most(skip_squared_norm)};
  if (batch == 1)
    sample(clouds, 1, total, total_samples, p, scope.stream);
  else  // sizes are on the device: most clouds are not much larger than the mean
    sample(clouds, batch, std::min(total, total / batch * 5 / 4 + 1), std::nullopt, p, scope.stream);
  return indices;
}

}  // namespace
}  // namespace mae3d::fps

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) {
  m.impl("furthest_point_sample", TORCH_BOX(&mae3d::fps::sample_dense));
  m.impl("furthest_point_sample_packed", TORCH_BOX(&mae3d::fps::sample_packed));
}
