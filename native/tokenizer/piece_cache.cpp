#include "piece_cache.h"

#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tilth {

namespace {
constexpr std::size_t kHugePage = std::size_t{1} << 21;
}

LineArray::LineArray(std::size_t bytes) {
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : 64;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, bytes)));
    if (!data_) throw std::bad_alloc();
#ifdef __linux__
    if (bytes >= kHugePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // before the first touch; may be refused
#endif
    std::memset(data_.get(), 0, bytes);
}

void LineArray::Free::operator()(std::byte* p) const { std::free(p); }

}  // namespace tilth
