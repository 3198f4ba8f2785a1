// Allocations that fail when a fuzzer asks for it: `operator new`, and what LineArray takes its memory from.
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "fuzz.h"

namespace {

std::size_t allocations_until_failure = 0;  // 0: none fails; the fuzzers run on one thread

bool fails_now() { return allocations_until_failure > 0 && --allocations_until_failure == 0; }

}  // namespace

void fail_allocation(std::size_t n) { allocations_until_failure = n; }

void* operator new(std::size_t size) {
    void* const memory = fails_now() ? nullptr : std::malloc(size > 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace std {

void* failing_calloc(std::size_t n, std::size_t size) { return fails_now() ? nullptr : std::calloc(n, size); }

}  // namespace std

#ifdef __linux__
void* failing_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
    return fails_now() ? MAP_FAILED : mmap(at, size, protection, flags, file, offset);
}
#define mmap failing_mmap
#endif
#define calloc failing_calloc
#include "tokenizer/line_array.cpp"
