// Runs of characters and the ids that they became: a bounded cache in front of merging.
//
// A run is its own key and is stored beside its ids, so that a hit reads one cache line and compares no bytes
// elsewhere. Two entries make a bucket; a full one overflows into its neighbour, and where both are full a newer run
// replaces an older one. Tables grow with use up to a limit.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "line_array.h"

namespace tilth {

/// A run of up to 8 * kWords - 1 bytes, then zeros, and in the last byte its length.
template <std::size_t kWords>
struct RunKey {
    static constexpr std::size_t kMostBytes = 8 * kWords - 1;

    std::array<std::uint64_t, kWords> words;

    bool operator==(const RunKey& other) const {
        std::uint64_t difference = 0;
        for (std::size_t i = 0; i < kWords; ++i) difference |= words[i] ^ other.words[i];
        return difference == 0;
    }

    /// The key of the `size` bytes at `run`, of which all 8 * kWords can be read.
    static RunKey of_readable(const char* run, std::size_t size) {
        RunKey key;
        std::memcpy(key.words.data(), run, sizeof key.words);
        for (std::size_t i = 0; i < kWords; ++i) key.words[i] &= kMasks[size][i];
        key.words[kWords - 1] |= static_cast<std::uint64_t>(size) << 56;
        return key;
    }
    static RunKey of(std::string_view run) {
        char bytes[8 * kWords] = {};
        std::memcpy(bytes, run.data(), run.size());
        return of_readable(bytes, run.size());
    }

    std::uint64_t hash() const {
        std::uint64_t hash = words[0];
        for (std::size_t i = 1; i < kWords; ++i) hash = std::rotl(hash * 0x9E3779B97F4A7C15, 29) ^ words[i];
        hash *= 0xD6E8FEB86659FD93;
        return hash ^ hash >> 32;
    }

  private:
    static constexpr auto kMasks = [] {
        std::array<std::array<std::uint64_t, kWords>, kMostBytes + 1> masks{};
        for (std::size_t size = 0; size <= kMostBytes; ++size) {
            for (std::size_t i = 0; i < size; ++i) masks[size][i / 8] |= std::uint64_t{0xFF} << (i % 8 * 8);
        }
        return masks;
    }();
};

template <std::size_t kWords, class Id, std::size_t kMostBuckets>
class RunTable {
  public:
    using Key = RunKey<kWords>;
    /// As many ids as make the entry twice its key, less one for their number.
    static constexpr std::size_t kSlots = 8 * kWords / sizeof(Id), kMostIds = kSlots - 1;

    struct Entry {
        Key key{};
        std::array<Id, kSlots> ids{};  // the last is how many of them count

        std::size_t count() const { return ids[kMostIds]; }
    };
    struct alignas(2 * sizeof(Entry)) Bucket {
        Entry entries[2];
    };

    RunTable() : lines_(kFirstBuckets * sizeof(Bucket)) {}

    const Bucket& bucket(std::uint64_t hash) const { return buckets()[hash & (n_buckets_ - 1)]; }

    /// The entry of `key`, or one that is of another key.
    static const Entry& likely(const Bucket& bucket, const Key& key) {
        return bucket.entries[bucket.entries[1].key == key];
    }

    /// The entry of a key that is not in its bucket; nullptr if it is in neither of the two where it may be.
    const Entry* find_in_second(std::uint64_t hash, const Key& key) const {
        const Entry& entry = likely(bucket(hash ^ 1), key);
        return entry.key == key ? &entry : nullptr;
    }

    /// Puts a key that is not there; `count` is from 1 to kMostIds.
    void insert(std::uint64_t hash, const Key& key, const Id* ids, std::size_t count) {
        if (size_ >= n_buckets_ && n_buckets_ < kMostBuckets) grow();
        Entry entry{key, {}};
        for (std::size_t i = 0; i < count; ++i) entry.ids[i] = ids[i];
        entry.ids[kMostIds] = static_cast<Id>(count);
        put(hash, entry);
    }

  private:
    static constexpr std::size_t kFirstBuckets = 512;
    static_assert(std::countr_zero(kMostBuckets / kFirstBuckets) % 2 == 0, "growth is fourfold");

    Bucket* buckets() const { return reinterpret_cast<Bucket*>(lines_.data()); }

    void put(std::uint64_t hash, const Entry& entry) {
        for (const std::uint64_t home : {hash, hash ^ 1}) {
            for (Entry& slot : buckets()[home & (n_buckets_ - 1)].entries) {
                if (slot.count() != 0) continue;
                slot = entry;
                ++size_;
                return;
            }
        }
        // The first comer is likely the most frequent, so it stays.
        buckets()[hash & (n_buckets_ - 1)].entries[1] = entry;
    }

    /// Raises std::bad_alloc and then leaves the table as it was.
    void grow() {
        LineArray old(4 * n_buckets_ * sizeof(Bucket));
        std::swap(old, lines_);
        const auto* const old_buckets = reinterpret_cast<const Bucket*>(old.data());
        const std::size_t n_old = std::exchange(n_buckets_, 4 * n_buckets_);
        size_ = 0;
        for (std::size_t i = 0; i < n_old; ++i) {
            for (const Entry& entry : old_buckets[i].entries) {
                if (entry.count() != 0) put(entry.key.hash(), entry);
            }
        }
    }

    LineArray lines_;
    std::size_t n_buckets_ = kFirstBuckets;
    std::size_t size_ = 0;
};

}  // namespace tilth
