// Multi-threading on torch's own pool (torch.set_num_threads is honoured).
#pragma once

#include <atomic>
#include <exception>
#include <mutex>

#include "tensor.h"

namespace mae3d {

inline int64_t num_threads() { return static_cast<int64_t>(torch::stable::get_num_threads()); }

// Calls f(begin, end) on disjoint ranges that cover [begin, end). An exception thrown inside is rethrown here.
template <typename F> void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  if (begin >= end) return;
  if (end - begin <= grain || num_threads() == 1) return f(begin, end);
  std::exception_ptr error;
  std::mutex guard;
  torch::stable::parallel_for(begin, end, grain, [&](int64_t b, int64_t e) {
    try {
      f(b, e);
    } catch (...) {
      std::lock_guard<std::mutex> lock(guard);
      if (!error) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

// One task per index, handed out as threads become free: for clouds or chunks of uneven cost.
template <typename F> void parallel_tasks(int64_t count, const F& f) {
  const int64_t workers = std::min(count, num_threads());
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  std::atomic<int64_t> next{0};
  parallel_for(0, workers, 1, [&](int64_t b, int64_t e) {
    for (int64_t w = b; w < e; ++w)
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) f(i);
  });
}

}  // namespace mae3d
