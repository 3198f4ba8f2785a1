// Says of two neighbouring characters of three bytes each (Chinese, Japanese, Korean, Thai, Hindi and others) whether
// a token may reach from one into the other.
//
// Where none does, no merge can cross, and the text on both sides is encoded apart: long runs without spaces fall into
// parts of a character or two, which repeat. Bytes that tokens hold on both sides of such a place, up to three, are
// kept in a Bloom filter: a false "may" costs time, never exactness.
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
        for (std::uint32_t shapes = shapes_; shapes != 0; shapes &= shapes - 1) {
            const auto shape = static_cast<std::uint32_t>(std::countr_zero(shapes));
            if (is_set(hash(place, shape >> 2, shape & 3))) return true;
        }
        return false;
    }

    /// The first place in `piece` where it may be cut; piece.size() if there is none.
    std::size_t first_cut(std::string_view piece) const;

  private:
    /// Of the `left` bytes before `place` and the `right` bytes from it on, 1 to 3 each.
    static std::uint64_t hash(const char* place, std::uint32_t left, std::uint32_t right) {
        std::uint64_t bytes = left << 2 | right;
        for (std::uint32_t i = 0; i < left; ++i) bytes = bytes << 8 | static_cast<unsigned char>(place[-1 - static_cast<int>(i)]);
        for (std::uint32_t i = 0; i < right; ++i) bytes = bytes << 8 | static_cast<unsigned char>(place[i]);
        return bytes * 0x9E3779B97F4A7C15;
    }

    bool is_set(std::uint64_t h) const {
        return (bits_[h >> shift_ >> 6] >> (h >> shift_ & 63) & 1) != 0;
    }

    std::vector<std::uint64_t> bits_;
    int shift_ = 0;
    std::uint32_t shapes_ = 0;  // bit left * 4 + right: some token has this many bytes there
};

}  // namespace tilth
