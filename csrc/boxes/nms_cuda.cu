#include "nms.h"

#include "../common/cuda.cuh"

namespace mae3d {
namespace {

using boxes::Box;

constexpr int kThreads = 128;
constexpr int kWord = 64;  // boxes of a word of the bit matrix

template <typename T>
__global__ void load_ranked(const T* values, const bool* valid, int64_t count, bool circle, Box* list) {
  MAE3D_GRID_STRIDE(i, count) {
    Box box = boxes::load_box(values + i * boxes::kParameters);
    if (circle) box.valid = isfinite(box.x) && isfinite(box.y);
    box.valid = box.valid && valid[i];
    list[i] = box;
  }
}

struct Matrix {
  uint64_t* bits;  // [B, N, words]: bit j of row i: box i suppresses box j, for j > i
  int64_t batch, count, words;
};

// One thread per word: a box against 64 others. Words left of the diagonal are not looked at later and not written.
__global__ void fill_matrix(const Box* list, const int64_t* labels, Matrix matrix, double threshold, bool circle) {
  MAE3D_GRID_STRIDE(index, matrix.batch * matrix.count * matrix.words) {
    const int64_t row = index / matrix.words, word = index % matrix.words;
    const int64_t i = row % matrix.count, base = row - i;
    if ((word + 1) * kWord <= i) continue;
    const Box& box = list[row];
    uint64_t bits = 0;
    const int64_t end = min(matrix.count, (word + 1) * kWord);
    for (int64_t j = max(i + 1, word * kWord); box.valid && j < end; ++j) {
      const Box& other = list[base + j];
      if (!other.valid || (labels && labels[row] != labels[base + j])) continue;
      const double dx = box.x - other.x, dy = box.y - other.y;
      const bool hit = circle ? __dadd_rn(__dmul_rn(dx, dx), __dmul_rn(dy, dy)) <= threshold * threshold
                              : boxes::circles_meet(dx, dy, box.radius + other.radius) &&
                                    boxes::overlaps(box, other, threshold);
      if (hit) bits |= uint64_t{1} << (j - word * kWord);
    }
    matrix.bits[index] = bits;
  }
}

// One block per sample walks the rows in order; `gone` holds what the kept boxes suppress.
__global__ void reduce_matrix(const bool* valid, Matrix matrix, int64_t max_output, int64_t* keep, int64_t* count) {
  extern __shared__ uint64_t gone[];
  for (int64_t sample = blockIdx.x; sample < matrix.batch; sample += gridDim.x) {
    for (int64_t word = threadIdx.x; word < matrix.words; word += blockDim.x) gone[word] = 0;
    __syncthreads();
    int64_t kept = 0;
    for (int64_t i = 0; i < matrix.count && kept < max_output; ++i) {
      const int64_t row = sample * matrix.count + i;
      const bool alive = valid[row] && !((gone[i / kWord] >> (i % kWord)) & 1);  // the same in all threads
      if (!alive) continue;
      if (threadIdx.x == 0) keep[sample * max_output + kept] = i;
      ++kept;
      __syncthreads();  // all have read `gone`
      for (int64_t word = i / kWord + threadIdx.x; word < matrix.words; word += blockDim.x)
        gone[word] |= matrix.bits[row * matrix.words + word];
      __syncthreads();
    }
    for (int64_t i = kept + threadIdx.x; i < max_output; i += blockDim.x) keep[sample * max_output + i] = -1;
    if (threadIdx.x == 0) count[sample] = kept;
    __syncthreads();
  }
}

}  // namespace

std::tuple<Tensor, Tensor> nms_sorted_cuda(const Tensor boxes, const OptionalTensor labels, const Tensor valid,
                                           double threshold, bool circle, int64_t max_output) {
  const CudaScope scope(boxes);
  mae3d::boxes::check_nms(boxes, labels, valid, max_output);
  const int64_t batch = boxes.size(0), n = boxes.size(1), size = max_output < n ? max_output : n;
  MAE3D_CHECK(n <= 65536, "nms_sorted: at most 65536 boxes on CUDA, got ", n, "; keep the best before");
  Tensor keep = make_empty(boxes, {batch, size}, ScalarType::Long);
  Tensor count = make_zeros(boxes, {batch}, ScalarType::Long);
  if (batch * size == 0) return {keep, count};

  const Tensor values = as_contiguous(boxes), valids = as_contiguous(valid);
  const OptionalTensor names = labels ? OptionalTensor(as_contiguous(*labels)) : OptionalTensor();
  const int64_t words = ceil_div<int64_t>(n, kWord);
  Tensor list_memory = make_empty(boxes, {batch * n * static_cast<int64_t>(sizeof(Box))}, ScalarType::Byte);
  Tensor bits_memory = make_empty(boxes, {batch, n, words}, ScalarType::Long);
  Box* list = reinterpret_cast<Box*>(mdata<uint8_t>(list_memory));
  const Matrix matrix{reinterpret_cast<uint64_t*>(mdata<int64_t>(bits_memory)), batch, n, words};
  const bool* alive = cdata<bool>(valids);
  const unsigned blocks = grid_for(batch * n, kThreads);
  if (boxes.scalar_type() == ScalarType::Float)
    load_ranked<<<blocks, kThreads, 0, scope.stream>>>(cdata<float>(values), alive, batch * n, circle, list);
  else
    load_ranked<<<blocks, kThreads, 0, scope.stream>>>(cdata<double>(values), alive, batch * n, circle, list);
  fill_matrix<<<grid_for(batch * n * words, kThreads), kThreads, 0, scope.stream>>>(
      list, names ? cdata<int64_t>(*names) : nullptr, matrix, threshold, circle);
  reduce_matrix<<<grid_for(batch, 1), kThreads, static_cast<size_t>(words) * sizeof(uint64_t), scope.stream>>>(
      alive, matrix, size, mdata<int64_t>(keep), mdata<int64_t>(count));
  const cudaError_t error = cudaGetLastError();
  MAE3D_CHECK(error == cudaSuccess, "nms_sorted: CUDA kernel launch failed: ", cudaGetErrorString(error));
  return {keep, count};
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CUDA, m) { m.impl("nms_sorted", TORCH_BOX(&nms_sorted_cuda)); }

}  // namespace mae3d
