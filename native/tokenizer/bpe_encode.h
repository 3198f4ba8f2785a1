// Exact byte-level BPE: of all adjacent pairs the one of lowest rank merges first, the leftmost of equals.
//
// Short pieces are merged in a small array by looking for the minimum; long ones in a linked list with a heap, so
// that a piece of n bytes costs O(n log n) whatever stands in it. A piece that is itself a token is looked up first,
// where that cannot change the result. An encoder is read-only after it is built: threads share it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hash_tables.h"
#include "pretokenize.h"
#include "special_tokens.h"

namespace tilth {

using TokenPair = std::pair<std::uint32_t, std::uint32_t>;

class BpeEncoder {
  public:
    /// Merges in order of rank. `tokens` holds bytes by id ("" for an unused id); `special_ids` take no part in
    /// merging. `ignore_merges`: a piece that is a token becomes it, whatever the merges would give.
    /// Raises std::invalid_argument naming the entry that cannot work.
    BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids,
               const std::vector<TokenPair>& merges, bool ignore_merges);

    /// tiktoken's reading of a rank file: two tokens merge if their bytes join to a token, the lowest id first.
    static BpeEncoder from_ranks(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids);

    BpeEncoder(BpeEncoder&&) = default;

    /// Appends the ids of one piece.
    void encode_piece(std::string_view piece, std::vector<std::uint32_t>& out) const;

    /// Appends the ids of `text`, which is cut at `specials` (may be null) and then by `pattern`.
    void encode(std::string_view text, Pattern pattern, const SpecialTokens* specials,
                std::vector<std::uint32_t>& out) const;

    /// Appends the bytes of `ids` to `out`. Raises std::out_of_range naming an id that is no token.
    void decode(const std::uint32_t* ids, std::size_t count, std::string& out) const;

    /// Every pair of tokens that merges, in the order of (rank, left, right).
    const std::vector<TokenPair>& merges() const { return merges_; }

  private:
    BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids, std::size_t n_pairs);

    void add_merge(TokenPair pair, Merge merge);
    void add_whole_pieces(bool ignore_merges);
    void merge_short(std::string_view piece, std::vector<std::uint32_t>& out) const;
    void merge_long(std::string_view piece, std::vector<std::uint32_t>& out) const;
    void merge_piece(std::string_view piece, std::vector<std::uint32_t>& out) const;

    // On the heap, because `token_ids_` and `whole_pieces_` point into it and an encoder can be moved.
    std::unique_ptr<const std::vector<std::string>> tokens_;
    std::vector<bool> is_special_;
    std::array<std::uint32_t, 256> byte_ids_;
    std::vector<TokenPair> merges_;
    PairTable pairs_;
    PieceTable token_ids_;     // every ordinary token
    PieceTable whole_pieces_;  // those that a piece may be replaced by before merging
};

}  // namespace tilth
