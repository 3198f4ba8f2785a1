// Memory for tables that are looked into at random.
#pragma once

#include <cstddef>
#include <utility>

namespace tilth {

/// Zeros at the beginning of a cache line; on huge pages where the system has them: a probe then costs no page walk.
class LineArray {
  public:
    explicit LineArray(std::size_t bytes);
    ~LineArray();
    LineArray(LineArray&& other) noexcept { swap(other); }
    LineArray& operator=(LineArray&& other) noexcept {
        swap(other);
        return *this;
    }
    std::byte* data() const { return data_; }

  private:
    void swap(LineArray& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(mapped_, other.mapped_);
        std::swap(data_, other.data_);
    }

    void* memory_ = nullptr;
    std::size_t mapped_ = 0;  // 0: it comes from the heap
    std::byte* data_ = nullptr;
};

}  // namespace tilth
