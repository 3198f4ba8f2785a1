// Runs a function over a range of indices on several threads.
//
// What a thread throws is carried to the caller, and so is the failure to start a thread; the others stop at their
// next index. Nothing of this touches Python: release the GIL first.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace tilth {

/// Calls `body(index)` once for every index below `count`, in no particular order, on up to `n_threads` threads.
template <class Body>
void parallel_for(std::size_t count, std::size_t n_threads, Body&& body) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr first_error;
    std::mutex error_mutex;
    const auto fail = [&] {
        const std::lock_guard lock(error_mutex);
        if (!first_error) first_error = std::current_exception();
        next = count;
    };
    const auto work = [&] {
        try {
            for (std::size_t i = next++; i < count; i = next++) body(i);
        } catch (...) {
            fail();
        }
    };
    std::vector<std::thread> others;
    try {
        for (std::size_t i = 1; i < n_threads && i < count; ++i) others.emplace_back(work);
    } catch (...) {
        fail();
    }
    work();
    for (std::thread& thread : others) thread.join();
    if (first_error) std::rethrow_exception(first_error);
}

}  // namespace tilth
