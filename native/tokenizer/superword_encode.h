// Exact BPE over long pieces, where tokens may hold several words.
//
// The merges up to the first that joins a letter with a space behind it come first in rank, so they can be carried out
// first, and they never reach across two bytes that are neighbours in none of their tokens: there the text
// falls into words, nearly all of which are tokens and are looked up at once. Only the merges across words, of a
// quarter as many symbols, go through a heap. Trade-off: a second table of all pairs.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bpe_encode.h"

namespace tilth {

class SuperwordEncoder {
  public:
    /// As BpeEncoder; `most_digits` as in `superword_ends`.
    SuperwordEncoder(const std::vector<std::string>& tokens, const std::vector<std::uint32_t>& special_ids,
                     const std::vector<TokenPair>& merges, int most_digits);

    /// Appends the ids of `text`, which is cut at `specials` (may be null) and then into pieces.
    void encode(std::string_view text, const SpecialTokens* specials, std::vector<std::uint32_t>& out) const;

    /// Appends the ids of one piece.
    void encode_piece(std::string_view piece, std::vector<std::uint32_t>& out) const;

  private:
    void encode_words(std::string_view piece, std::vector<std::uint32_t>& out) const;
    void merge_words(std::vector<std::uint32_t>& ids, std::size_t start) const;

    BpeEncoder words_;  // of the merges within words
    PairTable pairs_;   // all merges
    std::bitset<1 << 16> joined_;  // two bytes that are neighbours in a token of `words_`
    int most_digits_;
    bool joins_words_ = false;
};

}  // namespace tilth
