// Training of byte-level BPE: merges the most frequent pair of neighbours, again and again.
//
// All distinct pieces stand in one array of symbols with links to the neighbours, and every pair knows the places
// where it arose, so a merge costs as much as the places that it changes, even within one piece of megabytes. Price:
// 16 bytes per byte of distinct pieces, and the places of pairs. Counts have 64 bits.
#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hash_tables.h"
#include "piece_counts.h"

namespace tilth {

/// Which of equally frequent pairs merges first.
enum class TieBreak {
    kLowestPair,    // the least (left id, right id): Hugging Face and rustbpe, whose byte ids differ
    kLexicographic  // the greatest (left bytes, right bytes): the CS336 reference
};

class BpeTrainer {
  public:
    struct Limits {
        std::int64_t minimum_piece_count = 1;  // pieces below it teach nothing
        std::int64_t minimum_pair_count = 1;   // training ends when no pair reaches it
        std::size_t longest_token = ~std::size_t{0};  // in bytes; a pair that would be longer never merges
    };

    /// `byte_order[i]` is the byte whose id is i while training; merges get the ids from 256 up.
    BpeTrainer(const PieceCounts& pieces, TieBreak tie_break, const std::array<unsigned char, 256>& byte_order,
               const Limits& limits);

    /// Merges until there are `count` more tokens; returns how many there were to make. A merge whose bytes are a
    /// token already makes no new one: it keeps that one's id, as in Hugging Face's trainer.
    std::size_t merge(std::size_t count);

    const std::vector<std::pair<std::uint32_t, std::uint32_t>>& merges() const { return merges_; }

  private:
    using Pair = std::uint64_t;  // pair_key(left, right)
    struct Symbol {
        std::uint32_t id, previous, next, piece;  // previous and next: kNone at a piece's ends
    };
    struct Occurrences {
        std::int64_t count = 0;
        std::vector<std::uint32_t> places;  // of the left symbol, ascending; some may have been merged away
    };
    struct Entry {
        std::int64_t count;
        Pair pair;
    };
    struct IsWorse {
        const BpeTrainer* trainer;
        bool operator()(const Entry& a, const Entry& b) const;
    };

    void add_piece(std::string_view piece, std::int64_t count, const std::array<std::uint32_t, 256>& byte_ids);
    bool merge_pair(Pair pair);
    std::uint32_t id_of_merged(std::uint32_t left, std::uint32_t right);
    void change(std::uint32_t left_place, std::uint32_t right_place, int sign, std::vector<Pair>* fresh);

    TieBreak tie_break_;
    Limits limits_;
    std::vector<std::string> tokens_;
    std::unordered_map<std::string, std::uint32_t> ids_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> merges_;
    std::vector<std::int64_t> piece_counts_;
    std::vector<Symbol> symbols_;
    std::unordered_map<Pair, Occurrences> pairs_;
    std::priority_queue<Entry, std::vector<Entry>, IsWorse> queue_;
};

}  // namespace tilth
