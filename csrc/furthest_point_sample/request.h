// What one cloud is asked for, and memory that is kept from cloud to cloud.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace mae3d::fps {

struct Request {
  const float* points;  // [count, 3]
  int64_t count;
  int64_t samples;  // > 0
  int64_t start;    // row inside the cloud
  float skip;       // no candidates: squared norm <= skip
  int64_t base;     // added to every index
  int64_t* out;     // [samples]
};

template <typename T> class Buffer {
 public:
  T* reserve(size_t size) {
    if (size > capacity_) data_ = std::make_unique_for_overwrite<T[]>(capacity_ = size);
    return data_.get();
  }
  T* data() const { return data_.get(); }

 private:
  std::unique_ptr<T[]> data_;
  size_t capacity_ = 0;
};

}  // namespace mae3d::fps
