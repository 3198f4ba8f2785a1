// Says of two neighbouring characters of three bytes each (Chinese, Japanese, Korean, Thai, Hindi and others) whether
// a token may reach from one into the other.
//
// Where none does, no merge can cross, and the text on both sides is encoded apart: long runs without spaces fall into
// parts of a character or two, which repeat. Of every character it is kept whether tokens join it to a neighbour, and
// of pairs a Bloom filter; tokens that end within a character count by the byte next to the boundary. A false "may"
// costs time, never exactness.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../unicode/character_class.h"
#include "hash_tables.h"

namespace tilth {

class JoinFilter {
  public:
    explicit JoinFilter(const std::vector<std::string>& tokens);

    /// Whether a token may hold the last byte of character `left` and the first of `right`, two numbers of characters.
    bool may_join(std::uint32_t left, std::uint32_t right) const {
        const std::uint8_t a = joins_[left], b = joins_[right];
        if ((a & kNext) != 0 && (b & kPrevious) != 0 && has_pair(left, right)) return true;
        return (a & kNextPart) != 0 || (b & kPreviousPart) != 0 || (part_joins_[left & 0x3F] >> (right >> 12) & 1) != 0;
    }

    /// Calls `visit(part, code)` for the parts that `piece` falls into; `code` is that of a part which is a character of
    /// three bytes, otherwise kNone. Tokens hold only parts, and parts merge apart.
    template <class Visit>
    void for_each_part(std::string_view piece, Visit&& visit) const {
        const char* const end = piece.data() + piece.size();
        const char* part = piece.data();
        std::uint32_t before = kNone;  // the character of three bytes that ends at p, if there is one
        const auto visit_until = [&](const char* p) {
            visit(std::string_view(part, static_cast<std::size_t>(p - part)), p - part == 3 ? before : kNone);
            part = p;
        };
        for (const char* p = part; end - p >= 3;) {
            if (!is_three_bytes(p)) {
                before = kNone;
                ++p;
                continue;
            }
            const std::uint32_t code = three_byte_code(p);
            if (before != kNone && !may_join(before, code)) visit_until(p);
            before = code;
            p += 3;
        }
        visit(std::string_view(part, static_cast<std::size_t>(end - part)), kNone);
    }

  private:
    /// How tokens join a character to the one behind or before it: to all of that one, or to a part of it.
    enum Joins : std::uint8_t { kNext = 1, kPrevious = 2, kNextPart = 4, kPreviousPart = 8 };

    std::size_t index(std::uint32_t left, std::uint32_t right) const {
        return (std::uint64_t{left} << 16 | right) * 0x9E3779B97F4A7C15 >> shift_;
    }
    bool has_pair(std::uint32_t left, std::uint32_t right) const {
        const std::size_t at = index(left, right);
        return (pairs_[at >> 6] >> (at & 63) & 1) != 0;
    }

    void add(const std::string& token, std::size_t at);

    std::vector<std::uint8_t> joins_ = std::vector<std::uint8_t>(1 << 16);  // by character
    std::uint16_t part_joins_[64] = {};  // of parts of both: by the last byte of the left, bits by the first of the right
    std::vector<std::uint64_t> pairs_;
    int shift_ = 0;
};

}  // namespace tilth
