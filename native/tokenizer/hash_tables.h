// A hash table with open addressing that is read-only after building: token pair -> merge.
//
// Built once, never erased from, at most half full, so that a probe is a short linear walk. std::unordered_map
// costs a cache miss more per look-up, and look-ups are what encoding consists of.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace tilth {

constexpr std::uint32_t kNone = 0xFFFFFFFF;

inline std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | right;
}

inline std::uint64_t mix(std::uint64_t x) {
    x *= 0x9E3779B97F4A7C15;
    return x ^ x >> 32;
}

inline std::uint64_t hash_bytes(std::string_view bytes) {
    std::uint64_t h = bytes.size();
    const char* p = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 8; p += 8, left -= 8) {
        std::uint64_t word;
        std::memcpy(&word, p, 8);
        h = mix(h ^ word);
    }
    std::uint64_t word = 0;
    std::memcpy(&word, p, left);
    return mix(mix(h ^ word));
}

inline std::size_t table_size_for(std::size_t entries) { return std::bit_ceil(2 * entries + 1); }

/// What two adjacent tokens become, and how early: a lower rank merges first.
struct Merge {
    std::uint32_t rank = kNone;
    std::uint32_t id = kNone;
};

class PairTable {
  public:
    explicit PairTable(std::size_t capacity) : slots_(table_size_for(capacity)), mask_(slots_.size() - 1) {}

    /// False if the pair is there already.
    bool insert(std::uint64_t pair, Merge merge) {
        Slot& slot = slots_[find_slot(pair)];
        if (slot.merge.rank != kNone) return false;
        slot = {pair, merge};
        return true;
    }

    /// rank == kNone if there is no such merge.
    Merge find(std::uint64_t pair) const { return slots_[find_slot(pair)].merge; }

  private:
    struct Slot {
        std::uint64_t pair = 0;
        Merge merge;
    };

    std::size_t find_slot(std::uint64_t pair) const {
        std::size_t i = mix(pair) & mask_;
        while (slots_[i].merge.rank != kNone && slots_[i].pair != pair) i = (i + 1) & mask_;
        return i;
    }

    std::vector<Slot> slots_;
    std::size_t mask_;
};

}  // namespace tilth
