// Objects that wait for a thread to use them: one thread takes one and gives it back; if none is there it is made anew.
//
// Without a lock, so that a fork at any moment leaves it usable. At most 64 wait; what is given back beyond is freed.
#pragma once

#include <array>
#include <atomic>
#include <memory>

namespace tilth {

template <class T>
class IdlePool {
  public:
    IdlePool() = default;
    ~IdlePool() {
        for (std::atomic<T*>& place : idle_) delete place.load();
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
    std::unique_ptr<T> take() {
        for (std::atomic<T*>& place : idle_) {
            if (place.load(std::memory_order_relaxed) == nullptr) continue;
            if (T* const found = place.exchange(nullptr)) return std::unique_ptr<T>(found);
        }
        return std::make_unique<T>();
    }

    void give_back(std::unique_ptr<T> object) {
        for (std::atomic<T*>& place : idle_) {
            T* empty = nullptr;
            if (place.load(std::memory_order_relaxed) != nullptr) continue;
            if (!place.compare_exchange_strong(empty, object.get())) continue;
            object.release();
            return;
        }
    }

    std::array<std::atomic<T*>, 64> idle_{};
};

}  // namespace tilth
