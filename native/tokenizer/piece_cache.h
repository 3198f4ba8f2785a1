// The ids of pieces that occurred before: a bounded, thread-private cache in front of merging.
//
// Text repeats itself: a few thousand pieces make up nine tenths of it. Pieces of up to 15 bytes are their own keys and
// share a cache line with up to four ids, so that a hit reads one line and compares no bytes elsewhere. Rows
// of more ids, and pieces of more bytes, are in arenas. The tables grow with use, so that a short text touches little
// memory, up to some 60 MB in all; full, they drop entries.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "hash_tables.h"
#include "line_array.h"
#include "piece_key.h"

namespace tilth {

/// Up to four ids.
class FewIds {
  public:
    static constexpr std::size_t kMost = 4;

    FewIds() = default;
    FewIds(const std::uint32_t* ids, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) ids_[i] = ids[i];
        ids_[kMost - 1] |= static_cast<std::uint32_t>(n) << kIdBits;
    }
    static bool fit(const std::uint32_t* ids, std::size_t n) {
        return n <= kMost && std::all_of(ids, ids + n, [](std::uint32_t id) { return id >> kIdBits == 0; });
    }

    std::size_t size() const { return ids_[kMost - 1] >> kIdBits; }

    /// Writes four ids, of which the first so many, the number returned, mean something.
    std::size_t copy_to(std::uint32_t* out) const {
        constexpr std::uint32_t id_bits = (std::uint32_t{1} << kIdBits) - 1;
        const Quad ids = ids_ & Quad{~0u, ~0u, ~0u, id_bits};
        std::memcpy(out, &ids, sizeof ids);
        return size();
    }

  private:
    static constexpr std::uint32_t kIdBits = 28;
    using Quad = std::uint32_t __attribute__((vector_size(16)));

    Quad ids_{};  // their number is in the upper bits of the last
};

/// Pieces of up to 15 bytes, two to a cache line with their ids. A full line overflows into the one beside it.
class KnownPieces {
  public:
    struct alignas(64) Line {
        PieceKey keys[2];
        FewIds ids[2];  // of size 0: there is no piece here

        const FewIds* find(const PieceKey& key) const {
            const bool first = keys[0] == key, second = keys[1] == key;
            return first | second ? &ids[second] : nullptr;
        }
        bool is_full() const { return ids[0].size() > 0 && ids[1].size() > 0; }
    };

    /// The key of a piece that has more ids than fit. It is in the same lines, and its ids are a position in `ManyIds`.
    static PieceKey sign_of_many(const PieceKey& key) { return {key.low, key.high | kMany}; }

    KnownPieces() : memory_(kFirstLines * sizeof(Line)), shift_(64 - std::countr_zero(kFirstLines)) {}

    /// The line of a piece, until the table grows.
    const Line* line(std::uint64_t hash) const { return lines() + (hash >> shift_); }

    /// Its second line, for when the first is full.
    const Line* beside(const Line* line) const { return lines() + (static_cast<std::size_t>(line - lines()) ^ 1); }

    void insert(std::uint64_t hash, const PieceKey& key, const FewIds& ids) {
        const std::size_t own = hash >> shift_;
        for (const std::size_t slot : {2 * own, 2 * own + 1, 2 * (own ^ 1), 2 * (own ^ 1) + 1}) {
            Line& line = lines()[slot / 2];
            if (line.ids[slot % 2].size() > 0) continue;
            line.keys[slot % 2] = key;
            line.ids[slot % 2] = ids;
            ++size_;
            return;
        }
        // First comers are likely more frequent, so they stay.
        Line& line = lines()[own ^ 1];
        const std::size_t victim = next_victim_++ % 2;
        line.keys[victim] = key;
        line.ids[victim] = ids;
    }

    /// Inserts, or replaces the ids that are there.
    void set(std::uint64_t hash, const PieceKey& key, const FewIds& ids) {
        const Line* const own = line(hash);
        const FewIds* found = own->find(key);
        if (found == nullptr) found = beside(own)->find(key);
        if (found == nullptr) return insert(hash, key, ids);
        *const_cast<FewIds*>(found) = ids;
    }

    /// Full is a quarter of the slots: a trade-off of memory for look-ups that need one line only.
    bool is_full() const { return size_ >= n_lines() / 2 && n_lines() < kMostLines; }

    /// Raises std::bad_alloc and then leaves the table as it was.
    void grow() {
        const std::size_t n_old = n_lines();
        const int bits = 4 * n_old <= kMostLines ? 2 : 1;
        LineArray old((n_old << bits) * sizeof(Line));
        std::swap(old, memory_);
        shift_ -= bits;
        size_ = 0;
        const auto* const old_lines = reinterpret_cast<const Line*>(old.data());
        for (const std::size_t way : {0, 1}) {
            for (const Line* line = old_lines; line < old_lines + n_old; ++line) {
                const PieceKey& key = line->keys[way];
                const std::uint64_t hash = PieceKey{key.low, key.high & ~kMany}.hash();
                if (line->ids[way].size() > 0) insert(hash, key, line->ids[way]);
            }
        }
    }

  private:
    static constexpr std::uint64_t kMany = std::uint64_t{0x40} << 56;
    static constexpr std::size_t kFirstLines = 256, kMostLines = std::size_t{1} << 19;

    Line* lines() const { return reinterpret_cast<Line*>(memory_.data()); }
    std::size_t n_lines() const { return std::size_t{1} << (64 - shift_); }

    LineArray memory_;
    int shift_;
    std::size_t size_ = 0;
    std::size_t next_victim_ = 0;
};

/// Rows of ids of any length, until there are so many that all are dropped.
class ManyIds {
  public:
    /// Stores a row; returns its position, in the form of ids that a table holds. Rows that were dropped have size 0.
    FewIds keep(std::span<const std::uint32_t> ids) {
        if (arena_.size() + ids.size() > kMost) {
            arena_.clear();
            age_ = (age_ + 1) % kAges;
        }
        const std::uint32_t position[] = {static_cast<std::uint32_t>(arena_.size()),
                                       static_cast<std::uint32_t>(ids.size()), age_};
        arena_.insert(arena_.end(), ids.begin(), ids.end());
        return FewIds(position, std::size(position));
    }
    std::span<const std::uint32_t> at(const FewIds& kept) const {
        std::uint32_t position[FewIds::kMost];
        kept.copy_to(position);
        if (position[2] != age_) return {};
        return {arena_.data() + position[0], position[1]};
    }

  private:
    static constexpr std::size_t kMost = std::size_t{1} << 22;
    static constexpr std::uint32_t kAges = 1 << 28;
    std::vector<std::uint32_t> arena_;
    std::uint32_t age_ = 0;
};

/// Pieces of more than 15 bytes, four to a cache line; their bytes are in an arena.
class LongPieces {
  public:
    static constexpr std::size_t kLongest = 200;

    /// The ids of a piece, or none. An inner part is another piece than a whole one.
    std::span<const std::uint32_t> find(std::string_view piece, bool inner) const {
        if (!memory_ || piece.size() > kLongest) return {};
        const std::uint64_t hash = hash_bytes(piece);
        for (const Slot& slot : lines()[hash >> kShift].slots) {
            if (slot.hash != hash || slot.length != piece.size() || slot.inner != inner) continue;
            const std::uint32_t* const found = arena_.data() + slot.start;
            if (std::memcmp(found + slot.n_ids, piece.data(), piece.size()) == 0) return {found, slot.n_ids};
        }
        return {};
    }

    /// `piece` is of at most kLongest bytes.
    void insert(std::string_view piece, bool inner, std::span<const std::uint32_t> ids) {
        if (!memory_ || arena_.size() >= kArenaWords) {
            arena_.clear();
            memory_.emplace(kLines * sizeof(Line));
        }
        const std::size_t start = arena_.size();
        arena_.insert(arena_.end(), ids.begin(), ids.end());
        arena_.resize(arena_.size() + (piece.size() + 3) / 4);
        std::memcpy(arena_.data() + start + ids.size(), piece.data(), piece.size());
        const std::uint64_t hash = hash_bytes(piece);
        Line& line = lines()[hash >> kShift];
        Slot* slot = std::find_if(line.slots, line.slots + kWays, [](const Slot& one) { return one.length == 0; });
        if (slot == line.slots + kWays) slot = &line.slots[next_victim_++ % kWays];
        *slot = {hash, static_cast<std::uint32_t>(start), static_cast<std::uint8_t>(piece.size()), inner,
                  static_cast<std::uint16_t>(ids.size())};
    }

  private:
    static constexpr std::size_t kWays = 4, kLines = std::size_t{1} << 15, kArenaWords = std::size_t{1} << 21;
    static constexpr int kShift = 64 - std::countr_zero(kLines);

    struct Slot {
        std::uint64_t hash;
        std::uint32_t start;
        std::uint8_t length;  // 0: empty
        bool inner;
        std::uint16_t n_ids;
    };
    struct alignas(64) Line {
        Slot slots[kWays];
    };

    Line* lines() const { return reinterpret_cast<Line*>(memory_->data()); }

    std::optional<LineArray> memory_;
    std::vector<std::uint32_t> arena_;
    std::size_t next_victim_ = 0;
};

/// The ids of single characters of three bytes. A megabyte, of which only the pages in use take memory.
class Characters {
  public:
    /// None yet: of size 0.
    FewIds& of(std::uint32_t code) {
        if (!ids_) ids_.emplace(kCodes * sizeof(FewIds));
        return reinterpret_cast<FewIds*>(ids_->data())[code];
    }

  private:
    static constexpr std::size_t kCodes = 1 << 16;
    std::optional<LineArray> ids_;
};

struct PieceCache {
    KnownPieces known_pieces;
    Characters characters;
    ManyIds many_ids;
    LongPieces long_pieces;
    std::vector<std::uint32_t> scratch;
};

}  // namespace tilth
