#include "furthest_point_sample.h"

#include <algorithm>
#include <atomic>

#include "../common/parallel.h"
#include "kernels.h"

namespace mae3d::fps {
namespace {

constexpr int64_t kLeafSize = 128;  // points of a bucket, at most

// Whether buckets repay their construction (measured: below this, brute force is faster).
bool pays_buckets(const Request& r) { return r.count >= 2048 && r.samples >= 160; }

// Memory of one thread.
class Sampler {
 public:
  void run(const Request& r) {
    if (!pays_buckets(r)) return kernels().brute_force(r, load(r, arrays_));
    tree_.build(r, kLeafSize);
    kernels().buckets(r, tree_);
  }

 private:
  Buffer<Row> arrays_;
  BucketTree tree_;
};

// One request per cloud, handed out to threads as they become free.
template <typename RequestOf> void sample_all(int64_t clouds, const RequestOf& request_of) {
  std::atomic<int64_t> next{0};
  parallel_tasks(std::min(clouds, num_threads()), [&](int64_t) {
    Sampler sampler;
    for (int64_t b = next.fetch_add(1); b < clouds; b = next.fetch_add(1)) {
      const Request r = request_of(b);
      if (r.samples > 0) sampler.run(r);
    }
  });
}

void check_start(int64_t start, int64_t count, int64_t cloud, const char* op) {
  MAE3D_CHECK(start >= 0 && start < count, op, ": 'start' of cloud ", cloud, " is ", start, ", but the cloud has ",
              count, " points");
}

Tensor sample_dense(const Tensor& points, int64_t num_samples, const Tensor& start, double skip_squared_norm) {
  check_dense(points, num_samples, start, skip_squared_norm);
  const int64_t batch = points.size(0), count = points.size(1);
  const Tensor indices = make_empty(points, {batch, num_samples}, ScalarType::Long);
  if (num_samples == 0) return indices;
  const Tensor p = as_contiguous(points), first = as_contiguous(start);
  const int64_t* starts = cdata<int64_t>(first);
  for (int64_t b = 0; b < batch; ++b) check_start(starts[b], count, b, "furthest_point_sample");
  const float skip = float_at_most(skip_squared_norm);
  sample_all(batch, [&](int64_t b) {
    return Request{cdata<float>(p) + b * count * 3, count, num_samples, starts[b], skip, 0,
                   mdata<int64_t>(indices) + b * num_samples};
  });
  return indices;
}

Tensor sample_packed(const Tensor& points, const Tensor& offsets, const Tensor& sample_offsets, int64_t total_samples,
                     const Tensor& start, double skip_squared_norm) {
  constexpr const char* op = "furthest_point_sample_packed";
  check_packed(points, offsets, sample_offsets, total_samples, start);
  const Tensor p = as_contiguous(points), first = as_contiguous(start);
  const Tensor from = as_contiguous(offsets), to = as_contiguous(sample_offsets);
  const int64_t *begin = cdata<int64_t>(from), *out = cdata<int64_t>(to), *starts = cdata<int64_t>(first);
  const int64_t batch = start.size(0);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t count = begin[b + 1] - begin[b], samples = out[b + 1] - out[b];
    if (samples == 0) continue;
    check_count(count, samples, skip_squared_norm, op);
    check_start(starts[b], count, b, op);
  }
  const Tensor indices = make_empty(points, {total_samples}, ScalarType::Long);
  const float skip = float_at_most(skip_squared_norm);
  sample_all(batch, [&](int64_t b) {
    return Request{cdata<float>(p) + begin[b] * 3, begin[b + 1] - begin[b], out[b + 1] - out[b], starts[b], skip,
                   begin[b], mdata<int64_t>(indices) + out[b]};
  });
  return indices;
}

}  // namespace
}  // namespace mae3d::fps

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) {
  m.impl("furthest_point_sample", TORCH_BOX(&mae3d::fps::sample_dense));
  m.impl("furthest_point_sample_packed", TORCH_BOX(&mae3d::fps::sample_packed));
}
