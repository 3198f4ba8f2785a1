// The class of a character, as the split patterns see it: \p{L} (in four parts), \p{M}, \p{N}, \s.
//
// The tables are those of Unicode 16.0 (ranges.inc), the version of tiktoken 0.14 and tokenizers 0.23. They are
// unfolded into two stages of 256 entries when the module loads: ~40 KB and well under a millisecond, in exchange
// for a source file that a person can read.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tilth {

enum CharClass : std::uint8_t { kOther, kUpper, kLower, kLetter, kMark, kNumber, kSpace, kNewline };

constexpr bool is_letter(CharClass c) { return c == kUpper || c == kLower || c == kLetter; }
constexpr bool is_space(CharClass c) { return c == kSpace || c == kNewline; }
/// [^\s\p{L}\p{N}]
constexpr bool is_symbol(CharClass c) { return c == kOther || c == kMark; }

/// One character of UTF-8 text: its class and how many bytes it takes.
struct Character {
    CharClass cls;
    std::uint8_t length;
};

class CharClassTable {
  public:
    CharClassTable();
    CharClass of(std::uint32_t code) const { return blocks_[block_of_[code >> 8]][code & 0xFF]; }

  private:
    using Block = std::array<CharClass, 256>;
    std::array<std::uint8_t, 0x1100> block_of_{};
    std::vector<Block> blocks_;
};

extern const CharClassTable kCharClasses;

/// Whether there is a character of three bytes at `p`, of which three can be read. Says nothing of surrogates and
/// overlong forms.
inline bool is_three_bytes(const char* p) {
    return ((p[0] & 0xF0) == 0xE0) & ((p[1] & 0xC0) == 0x80) & ((p[2] & 0xC0) == 0x80);
}

/// Its number, from 0 to U+FFFF.
inline std::uint32_t three_byte_code(const char* p) {
    return static_cast<std::uint32_t>(p[0] & 0x0F) << 12 | static_cast<std::uint32_t>(p[1] & 0x3F) << 6 |
           static_cast<std::uint32_t>(p[2] & 0x3F);
}

/// The character at `p` (p < end) when its first byte is not ASCII. A byte that starts no valid UTF-8 sequence
/// (overlong, surrogate, beyond U+10FFFF, cut off) is one character of class kOther.
Character non_ascii_at(const char* p, const char* end);

/// The character at `p`; p < end.
inline Character character_at(const char* p, const char* end) {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) return {kCharClasses.of(byte), 1};
    if (end - p >= 3 && is_three_bytes(p)) {  // most of what is not ASCII, and worth inlining into the callers' loops
        const std::uint32_t code = three_byte_code(p);
        if (code >= 0x800 && (code & 0xF800) != 0xD800) return {kCharClasses.of(code), 3};
    }
    return non_ascii_at(p, end);
}

}  // namespace tilth
