// Ids of tokens by their bytes.
//
// Tokens of up to 15 bytes, nearly all of a vocabulary, are stored three to a cache line with
// their ids; longer ones in a map. Merging asks for many strings that are no tokens: a filter of some bits per token,
// small enough to stay near, answers most of those without a look at the lines.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hash_tables.h"
#include "line_array.h"
#include "piece_key.h"

namespace tilth {

class TokenTable {
  public:
    /// At least 16 lines, however few tokens: a shift by all 64 bits is undefined.
    explicit TokenTable(std::size_t n_tokens)
        : shift_(64 - std::countr_zero(std::bit_ceil(std::max<std::size_t>(n_tokens / 2 + 1, 16)))),
          memory_(n_lines() * sizeof(Line)),
          filter_(n_lines()) {}

    /// False if these bytes are there already.
    bool insert(std::string_view token, std::uint32_t id) {
        if (token.size() > PieceKey::kMostBytes) {
            longest_ = std::max(longest_, token.size());
            return long_.try_emplace(std::string(token), id).second;
        }
        const PieceKey key = key_of(token);
        const std::uint64_t hash = key.hash();
        filter_[hash >> shift_] |= filter_bit(hash);
        for (std::size_t i = hash >> shift_;; i = (i + 1) & (n_lines() - 1)) {
            Line& line = lines()[i];
            for (std::size_t way = 0; way < kWays; ++way) {
                if (line.next_ids[way] == 0) {
                    line.keys[way] = key;
                    line.next_ids[way] = id + 1;
                    return true;
                }
                if (line.keys[way] == key) return false;
            }
        }
    }

    /// kNone if there is no such token.
    std::uint32_t find(std::string_view token) const {
        return token.size() <= PieceKey::kMostBytes ? find(key_of(token)) : find_long(token);
    }

    /// The same of `size` bytes at `p`, of which 16 can be read.
    std::uint32_t find_readable(const char* p, std::size_t size) const {
        return size <= PieceKey::kMostBytes ? find(readable_key(p, size)) : find_long({p, size});
    }

    std::uint32_t find(const PieceKey& key) const {
        const std::uint64_t hash = key.hash();
        std::size_t i = hash >> shift_;
        if ((filter_[i] & filter_bit(hash)) == 0) return kNone;
        for (;; i = (i + 1) & (n_lines() - 1)) {
            const Line& line = lines()[i];
            for (std::size_t way = 0; way < kWays; ++way) {
                if (line.next_ids[way] == 0) return kNone;
                if (line.keys[way] == key) return line.next_ids[way] - 1;
            }
        }
    }

    /// Asks for the line of up to 15 bytes at `p`, of which 16 can be read, if they may be a token.
    void prefetch_readable(const char* p, std::size_t size) const {
        const std::uint64_t hash = readable_key(p, size).hash();
        const std::size_t i = hash >> shift_;
        __builtin_prefetch(&lines()[(filter_[i] & filter_bit(hash)) != 0 ? i : 0]);
    }

    /// Asks for the line of a token that is going to be inserted.
    void prefetch(std::string_view token) const {
        if (token.size() <= PieceKey::kMostBytes) __builtin_prefetch(&lines()[key_of(token).hash() >> shift_]);
    }

  private:
    static constexpr std::size_t kWays = 3;
    struct alignas(64) Line {
        PieceKey keys[kWays];
        std::uint32_t next_ids[kWays];  // an id and 1, or 0; filled from the first on
    };

    Line* lines() const { return reinterpret_cast<Line*>(memory_.data()); }
    std::size_t n_lines() const { return std::size_t{1} << (64 - shift_); }

    /// Of the bits that don't say which line: sixteen for each.
    std::uint16_t filter_bit(std::uint64_t hash) const {
        return static_cast<std::uint16_t>(1u << (hash >> (shift_ - 4) & 15));
    }

    std::uint32_t find_long(std::string_view token) const {
        if (token.size() > longest_) return kNone;
        const auto found = long_.find(token);
        return found != long_.end() ? found->second : kNone;
    }

    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view token) const { return hash_bytes(token); }
    };

    int shift_;
    LineArray memory_;
    std::vector<std::uint16_t> filter_;
    std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> long_;
    std::size_t longest_ = 0;
};

}  // namespace tilth
