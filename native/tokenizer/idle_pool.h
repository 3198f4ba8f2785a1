// Objects that wait for a thread to use them: one thread takes one and gives it back; if none is there, it makes one.
//
// Without a lock, so that a fork at any moment leaves it usable. A thread looks first where one was given back on its
// core, so that threads side by side don't swap objects, which are warm in the caches of the core that used them. At
// most 64 wait; what is given back beyond is freed.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace tilth {

template <class T>
class IdlePool {
  public:
    IdlePool() = default;
    ~IdlePool() {
        for (std::atomic<T*>& slot : idle_) delete slot.load();
    }
    IdlePool(const IdlePool&) = delete;
    IdlePool& operator=(const IdlePool&) = delete;

    /// An object for the calling thread, which comes back to the pool when it goes out of scope.
    class Lease {
      public:
        explicit Lease(IdlePool& pool) : pool_(pool), held_(pool.take()) {}
        ~Lease() { pool_.give_back(std::move(held_)); }
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        T& operator*() const { return *held_; }

      private:
        IdlePool& pool_;
        std::unique_ptr<T> held_;
    };

  private:
    static constexpr std::size_t kSlots = 64;

    static std::size_t first_slot() {
#ifdef __linux__
        if (const int core = sched_getcpu(); core >= 0) return static_cast<std::size_t>(core) % kSlots;
#endif
        return std::hash<std::thread::id>()(std::this_thread::get_id()) % kSlots;
    }

    std::unique_ptr<T> take() {
        const std::size_t first = first_slot();
        for (std::size_t i = 0; i < kSlots; ++i) {
            std::atomic<T*>& slot = idle_[(first + i) % kSlots];
            if (slot.load(std::memory_order_relaxed) == nullptr) continue;
            if (T* const found = slot.exchange(nullptr)) return std::unique_ptr<T>(found);
        }
        return std::make_unique<T>();
    }

    void give_back(std::unique_ptr<T> object) {
        const std::size_t first = first_slot();
        for (std::size_t i = 0; i < kSlots; ++i) {
            std::atomic<T*>& slot = idle_[(first + i) % kSlots];
            T* empty = nullptr;
            if (slot.load(std::memory_order_relaxed) != nullptr) continue;
            if (!slot.compare_exchange_strong(empty, object.get())) continue;
            object.release();
            return;
        }
    }

    std::array<std::atomic<T*>, kSlots> idle_{};
};

}  // namespace tilth
