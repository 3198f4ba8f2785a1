#include "line_array.h"

#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tilth {

namespace {

constexpr std::size_t kLine = 64;

#ifdef __linux__
constexpr std::size_t kHugePage = std::size_t{1} << 21;

/// Zeros, with a huge page's beginning among the first bytes.
void* map_huge(std::size_t bytes) {
    void* const mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    madvise(mapped, bytes + kHugePage, MADV_HUGEPAGE);  // may be refused
    return mapped;
}
#endif

}  // namespace

LineArray::LineArray(std::size_t bytes) {
    std::size_t alignment = kLine;
#ifdef __linux__
    if (bytes >= kHugePage) {
        alignment = kHugePage;
        mapped_ = bytes + kHugePage;
        memory_ = map_huge(bytes);
    }
#endif
    if (memory_ == nullptr) memory_ = std::calloc(bytes + alignment, 1);
    if (memory_ == nullptr) throw std::bad_alloc();
    void* start = memory_;
    std::size_t space = bytes + alignment;
    data_ = static_cast<std::byte*>(std::align(alignment, bytes, start, space));
}

LineArray::~LineArray() {
#ifdef __linux__
    if (mapped_ > 0) {
        munmap(memory_, mapped_);
        return;
    }
#endif
    std::free(memory_);
}

}  // namespace tilth
