// What SentencePiece-style BPE looks up, read-only once built: characters, which of them may be neighbours, merges.
//
// No merge can join two characters that are neighbours in no piece. Which are is a table of bits, a row
// and a column to each character that has neighbours; more than 2,047 of them share rows, so that a "may" can be wrong,
// which costs time, never exactness.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hash_tables.h"

namespace tilth {

/// A vocabulary as the encoder needs it. Spaces in pieces are spaces, not U+2581.
struct SentencePieces {
    std::vector<std::string> pieces;          // by id; "" where text never gives this id by merging
    std::vector<std::uint32_t> byte_ids;      // 256 ids, or none: no byte fallback
    std::uint32_t unknown_id = kNone;         // for what is in no piece, where there is no byte fallback
    std::vector<std::uint32_t> user_defined;  // ids of pieces that are always taken whole
    bool split_at_spaces = false;             // a run ends before every space, whatever the merges would give
};

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr std::uint32_t kInvalid = 0x10FFFF + 1;         // a byte that starts no valid UTF-8

/// `text` with a space for each U+2581.
std::string with_spaces(std::string_view text);

struct CodePoint {
    std::uint32_t code;
    std::uint32_t length;
};

/// The character at `p`, which is before `end`.
inline CodePoint code_point_at(const char* p, const char* end) {
    const auto byte = [&](int i) { return static_cast<unsigned char>(p[i]); };
    const auto follows = [&](int i) { return (byte(i) & 0xC0) == 0x80; };
    const std::uint32_t first = byte(0);
    if (first < 0x80) return {first, 1};
    if (first >= 0xC2 && first < 0xE0 && end - p > 1 && follows(1)) return {(first & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
    if (first >= 0xE0 && first < 0xF0 && end - p > 2 && follows(1) && follows(2)) {
        const std::uint32_t code = (first & 0xF) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
        if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF)) return {code, 3};
    }
    if (first >= 0xF0 && first < 0xF5 && end - p > 3 && follows(1) && follows(2) && follows(3)) {
        const std::uint32_t code =
            (first & 7) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
        if (code >= 0x10000 && code <= 0x10FFFF) return {code, 4};
    }
    return {kInvalid, 1};
}

/// Calls `visit(start, length, code)` for each character.
template <class Visit>
void for_each_character(std::string_view text, Visit&& visit) {
    const char* const end = text.data() + text.size();
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint character = code_point_at(text.data() + at, end);
        visit(at, character.length, character.code);
        at += character.length;
    }
}

/// A character as merging sees it. U+2581 is the same as a space.
struct Symbol {
    std::uint32_t id = kNone;    // of its token; from the number of pieces up: it is a part of pieces, but no piece itself
    std::uint32_t joiner = 0;    // its row and column in the table of joins; 0: it has no neighbour in any piece
};

/// What a character becomes that joins neither neighbour: up to three ids of 20 bits, their number, and whether it may
/// join a neighbour at all.
struct SingleIds {
    static constexpr std::uint32_t kIdBits = 20;

    static std::uint64_t pack(const std::uint32_t* ids, std::size_t n, bool joins) {
        std::uint64_t word = static_cast<std::uint64_t>(n) << 60 | static_cast<std::uint64_t>(joins) << 63;
        for (std::size_t i = 0; i < n; ++i) word |= static_cast<std::uint64_t>(ids[i]) << (kIdBits * i);
        return word;
    }
    static bool joins(std::uint64_t word) { return word >> 63; }

    /// Writes three ids, of which the first so many, the number returned, mean something.
    template <class Id>
    static std::size_t unpack(std::uint64_t word, Id* out) {
        constexpr std::uint64_t mask = (1 << kIdBits) - 1;
        out[0] = static_cast<Id>(word & mask);
        out[1] = static_cast<Id>(word >> kIdBits & mask);
        out[2] = static_cast<Id>(word >> (2 * kIdBits) & mask);
        return word >> 60 & 3;
    }
};

class SentencePieceTables {
  public:
    /// Any two neighbours whose join is a piece merge, the least `ranks[id]` first (kNone: never made by merging).
    /// Raises std::invalid_argument naming the entry that cannot work.
    static SentencePieceTables from_ranks(SentencePieces vocabulary, const std::vector<std::uint32_t>& ranks);

    /// Only the pairs of ids in `merges` merge, in this order. Raises as `from_ranks`.
    static SentencePieceTables from_merges(SentencePieces vocabulary,
                                           const std::vector<std::pair<std::uint32_t, std::uint32_t>>& merges);

    const SentencePieces& vocabulary() const { return vocabulary_; }
    std::size_t size() const { return vocabulary_.pieces.size(); }

    /// `code` may be kInvalid.
    Symbol symbol(std::uint32_t code) const { return pages_[page_of_[code >> 8]][code & 0xFF]; }

    /// Whether text is not cut between two such characters.
    bool may_join(Symbol left, Symbol right) const {
        return joins_[left.joiner << joins_shift_ | right.joiner >> 6] >> (right.joiner & 63) & 1;
    }
    /// The same for two characters of ASCII: a byte that is 1 or 0.
    unsigned char ascii_may_join(unsigned char left, unsigned char right) const { return ascii_joins_[left][right]; }

    Merge merge_of(std::uint32_t left, std::uint32_t right) const {
        const std::uint64_t bit = filter_bit(pair_key(left, right));
        if (!(filter_[bit >> 6] >> (bit & 63) & 1)) return {};
        return pairs_.find(pair_key(left, right));
    }
    /// The same for the symbols of two characters: a smaller table, which stays near.
    Merge first_merge_of(std::uint32_t left, std::uint32_t right) const {
        return first_pairs_.find(pair_key(left, right));
    }

    /// The text behind an id that is no piece's.
    const std::string& part(std::uint32_t id) const { return parts_[id - size()]; }

    /// SingleIds of the 65,536 first characters; null where those without a token are not 1 to 3 ids of 20 bits.
    const std::uint64_t* singles() const { return singles_.empty() ? nullptr : singles_.data(); }

    /// The id of each byte; "unknown" where there is no byte fallback.
    const std::array<std::uint32_t, 256>& byte_ids() const { return byte_ids_; }
    bool has_byte_ids() const { return !vocabulary_.byte_ids.empty(); }

  private:
    class Index;

    /// Most pairs don't merge, and a set of hashes that stays near says so: 128 KiB.
    static constexpr int kFilterBits = 20;
    static std::uint64_t filter_bit(std::uint64_t pair) { return pair * 0x9E3779B97F4A7C15 >> (64 - kFilterBits); }

    explicit SentencePieceTables(SentencePieces vocabulary);

    Symbol& symbol_to_change(std::uint32_t code);
    Symbol& symbol_in_a_piece(std::uint32_t code, std::string_view character, const Index& index);
    void add_characters(std::string_view piece, const Index& index);
    void add_pairs(const Index& index, const std::vector<std::uint32_t>& ranks);
    bool add_merge(std::uint64_t pair, Merge merge);
    void build_joins();
    void build_first_pairs();
    void build_singles();

    SentencePieces vocabulary_;
    std::array<std::uint32_t, 256> byte_ids_;
    std::vector<std::string> parts_;  // characters that are parts of pieces but no pieces, by id - size()
    std::array<std::uint16_t, 0x1101> page_of_{};
    std::vector<std::array<Symbol, 256>> pages_;
    std::uint32_t n_joiners_ = 0;
    std::vector<std::pair<std::uint16_t, std::uint16_t>> neighbours_;  // while building
    std::array<std::array<unsigned char, 128>, 128> ascii_joins_{};
    std::vector<std::uint64_t> joins_, singles_;
    std::uint32_t joins_shift_ = 0;
    std::vector<std::uint64_t> filter_ = std::vector<std::uint64_t>(std::size_t{1} << (kFilterBits - 6));
    PairTable pairs_{0}, first_pairs_{0};
};

}  // namespace tilth
