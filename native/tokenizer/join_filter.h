// Says of two neighbouring characters of three bytes each (Chinese, Japanese, Korean, Thai, Hindi and others) whether
// a token may reach from one into the other.
//
// Where none does, no merge can cross, and the text on both sides is encoded apart: long runs without spaces fall into
// parts of a character or two, which repeat. What tokens hold on both sides of such a place is kept in a Bloom filter,
// a whole character or, where a token ends within one, the byte next to the place: a false "may" costs time, never
// exactness.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hash_tables.h"

namespace tilth {

class JoinFilter {
  public:
    explicit JoinFilter(const std::vector<std::string>& tokens);

    static bool is_three_bytes(const char* p) {
        return (p[0] & 0xF0) == 0xE0 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80;
    }

    /// Whether a token may hold the last byte of the character before `place` and the first of the one at it.
    bool may_join(const char* place) const {
        const std::uint64_t left = bytes_at(place - 3), right = bytes_at(place);
        // Four probes that don't wait for one another.
        return ((bit(kWhole, left, right) | bit(kPartRight, left, right & 0xFF) | bit(kPartLeft, left >> 16, right) |
                 bit(kPartBoth, left >> 16, right & 0xFF)) & 1) != 0;
    }

    /// The first place in `piece` where it may be cut; piece.size() if there is none.
    std::size_t first_cut(std::string_view piece) const;

  private:
    /// What a token holds of the two characters: both, or of one or both only a part.
    enum Shape : std::uint64_t { kWhole, kPartRight, kPartLeft, kPartBoth };

    static std::uint64_t bytes_at(const char* p) {
        return static_cast<unsigned char>(p[0]) | static_cast<unsigned char>(p[1]) << 8 |
               static_cast<unsigned char>(p[2]) << 16;
    }

    std::uint64_t index(Shape shape, std::uint64_t left, std::uint64_t right) const {
        return ((shape << 48 | left << 24 | right) * 0x9E3779B97F4A7C15) >> shift_;
    }

    std::uint64_t bit(Shape shape, std::uint64_t left, std::uint64_t right) const {
        const std::uint64_t at = index(shape, left, right);
        return bits_[at >> 6] >> (at & 63);
    }

    void add(const std::string& token, std::size_t at);

    std::vector<std::uint64_t> bits_;
    int shift_ = 0;
};

}  // namespace tilth
