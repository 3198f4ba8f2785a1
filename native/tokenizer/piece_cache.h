// What pieces have become before: a bounded, thread-private cache in front of merging.
//
// Text repeats itself: a few thousand pieces make up nine tenths of it. Pieces of up to 7 and up to 15 bytes are
// their own keys, in buckets of one cache line that hold the ids beside the key, so that a hit costs one line and no
// comparison of bytes elsewhere. Longer pieces have their bytes and ids in an arena. The tables grow with use, so
// that a short text touches little memory, up to some 40 MB in all; full, they forget.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "hash_tables.h"

namespace tilth {

/// Up to three ids of 20 bits and their number, in one word. 0 stands for none.
class PackedIds {
  public:
    static constexpr std::size_t kMost = 3;
    static constexpr std::uint32_t kIdBits = 20;

    static bool fit(const std::uint32_t* ids, std::size_t n, std::size_t most) {
        bool fits = n >= 1 && n <= most;
        for (std::size_t i = 0; fits && i < n; ++i) fits = ids[i] >> kIdBits == 0;
        return fits;
    }

    static std::uint64_t pack(const std::uint32_t* ids, std::size_t n) {
        std::uint64_t word = static_cast<std::uint64_t>(n) << 60;
        for (std::size_t i = 0; i < n; ++i) word |= static_cast<std::uint64_t>(ids[i]) << (kIdBits * i);
        return word;
    }

    /// Writes three ids, of which the first so many, the number returned, mean something.
    static std::size_t unpack(std::uint64_t word, std::uint32_t* out) {
        constexpr std::uint64_t mask = (1 << kIdBits) - 1;
        out[0] = static_cast<std::uint32_t>(word & mask);
        out[1] = static_cast<std::uint32_t>(word >> kIdBits & mask);
        out[2] = static_cast<std::uint32_t>(word >> (2 * kIdBits) & mask);
        return word >> 60;
    }
};

/// A key of up to 15 bytes: they, zeros, and their number in the last byte.
struct PieceKey {
    std::uint64_t low, high;
};

struct IdWords {
    std::uint64_t first, second;
};

/// Memory on huge pages where the system has them: a probe then costs no page walk.
class LineArray {
  public:
    explicit LineArray(std::size_t bytes);
    std::byte* data() const { return data_.get(); }

  private:
    struct Free {
        void operator()(std::byte* p) const;
    };
    std::unique_ptr<std::byte, Free> data_;
};

/// Buckets of one line; `Key` of one or two words, which is not all zeros. `Ids` are one or two words of packed ids, of
/// which the first is not zero.
template <class Key, class Ids, std::size_t kWays, std::size_t kMostBuckets>
class PieceBuckets {
  public:
    struct alignas(64) Bucket {
        Key keys[kWays];
        Ids ids[kWays];
    };
    static_assert(sizeof(Bucket) == 64);

    PieceBuckets() : lines_(kFirstBuckets * sizeof(Bucket)), shift_(64 - std::countr_zero(kFirstBuckets)) {}

    const Bucket* bucket(std::uint64_t hash) const { return buckets() + (hash >> shift_); }

    void insert(std::uint64_t hash, const Key& key, const Ids& ids) {
        if (size_ >= n_buckets() * kWays / 4 && n_buckets() < kMostBuckets) grow();
        put(hash, key, ids);
    }

  private:
    static constexpr std::size_t kFirstBuckets = 256;

    static bool is_set(std::uint64_t ids) { return ids != 0; }
    static bool is_set(const IdWords& ids) { return ids.first != 0; }

    Bucket* buckets() const { return reinterpret_cast<Bucket*>(lines_.data()); }
    std::size_t n_buckets() const { return std::size_t{1} << (64 - shift_); }

    void put(std::uint64_t hash, const Key& key, const Ids& ids) {
        Bucket& bucket = buckets()[hash >> shift_];
        for (std::size_t way = 0; way < kWays; ++way) {
            if (is_set(bucket.ids[way])) continue;
            bucket.keys[way] = key;
            bucket.ids[way] = ids;
            ++size_;
            return;
        }
        // The first comer is likely the most frequent, so it stays.
        const std::size_t victim = 1 + next_victim_++ % (kWays - 1);
        bucket.keys[victim] = key;
        bucket.ids[victim] = ids;
    }

    void grow() {
        const LineArray old = std::move(lines_);
        const std::size_t n_old = n_buckets();
        lines_ = LineArray(4 * n_old * sizeof(Bucket));
        shift_ -= 2;
        size_ = 0;
        const auto* const old_buckets = reinterpret_cast<const Bucket*>(old.data());
        for (std::size_t i = 0; i < n_old; ++i) {
            for (std::size_t way = 0; way < kWays; ++way) {
                const Key& key = old_buckets[i].keys[way];
                if (is_set(old_buckets[i].ids[way])) put(hash_of(key), key, old_buckets[i].ids[way]);
            }
        }
    }

  public:
    static std::uint64_t hash_of(const Key& key) {
        if constexpr (sizeof(Key) == 8) {
            return key * 0x9E3779B97F4A7C15;
        } else {
            return (key.low * 0x9E3779B97F4A7C15 ^ std::rotl(key.high, 29)) * 0xD6E8FEB86659FD93;
        }
    }

  private:
    LineArray lines_;
    int shift_;
    std::size_t size_ = 0;
    std::size_t next_victim_ = 0;
};

/// Pieces of any length that is worth keeping, each in one of two slots.
class LongPieces {
  public:
    static constexpr std::size_t kLongest = 200;

    LongPieces() : slots_(kSlots) {}

    /// Appends the ids of a piece to `ids`; false if it is not there. An inner part is another piece than a whole one.
    bool find(std::uint64_t hash, std::string_view piece, bool inner, std::vector<std::uint32_t>& ids) const {
        for (const std::size_t other : {0, 1}) {
            const Slot& slot = slots_[hash >> kShift ^ other];
            if (slot.hash != hash || slot.length != piece.size() || slot.inner != inner) continue;
            const std::uint32_t* const found = arena_.data() + slot.start;
            if (std::memcmp(found + slot.n_ids, piece.data(), piece.size()) != 0) continue;
            ids.insert(ids.end(), found, found + slot.n_ids);
            return true;
        }
        return false;
    }

    void insert(std::uint64_t hash, std::string_view piece, bool inner, const std::vector<std::uint32_t>& ids) {
        if (arena_.size() >= kArenaWords) {
            arena_.clear();
            slots_.assign(kSlots, {});
        }
        const std::size_t start = arena_.size();
        arena_.insert(arena_.end(), ids.begin(), ids.end());
        arena_.resize(arena_.size() + (piece.size() + 3) / 4);
        std::memcpy(arena_.data() + start + ids.size(), piece.data(), piece.size());
        const std::size_t home = hash >> kShift;
        slots_[slots_[home].length == 0 ? home : home ^ 1] = {
            hash, static_cast<std::uint32_t>(start), static_cast<std::uint8_t>(piece.size()), inner,
            static_cast<std::uint16_t>(ids.size())};
    }

  private:
    static constexpr int kSlotBits = 15;
    static constexpr std::size_t kSlots = 1 << kSlotBits;
    static constexpr int kShift = 64 - kSlotBits;
    static constexpr std::size_t kArenaWords = 1 << 20;

    struct Slot {
        std::uint64_t hash = 0;
        std::uint32_t start = 0;
        std::uint8_t length = 0;  // 0: empty
        bool inner = false;
        std::uint16_t n_ids = 0;
    };
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> arena_;
};

using ShortPieces = PieceBuckets<std::uint64_t, std::uint64_t, 4, std::size_t{1} << 18>;
using MiddlePieces = PieceBuckets<PieceKey, IdWords, 2, std::size_t{1} << 18>;

struct PieceCache {
    ShortPieces short_pieces;    // up to 7 bytes and 3 ids
    MiddlePieces middle_pieces;  // up to 15 bytes and 6 ids
    LongPieces long_pieces;
    std::vector<std::uint32_t> scratch;
};

}  // namespace tilth
