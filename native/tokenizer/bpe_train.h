// Training of BPE: merges the most frequent pair of neighbours, again and again.
//
// All distinct pieces are in one array of symbols with links to the neighbours, and every pair has a list of its
// positions, so the time of a merge depends on the positions that it changes, even within one piece of megabytes.
// Training begins with bytes, with characters, or with the tokens of a vocabulary that is to grow. Memory: 16 bytes per symbol
// (at first, per byte of distinct pieces), and the positions of pairs. Counts have 64 bits.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpe_encode.h"
#include "hash_tables.h"
#include "piece_counts.h"

namespace tilth {

/// Which of equally frequent pairs merges first.
enum class TieBreak {
    kLowestPair,    // the least (left id, right id): Hugging Face and rustbpe, whose byte ids differ
    kLexicographic  // the greatest (left bytes, right bytes): the CS336 reference
};

/// What a piece is made of before anything merges.
enum class Symbols {
    kBytes,      // every byte must be a token
    kCharacters  // of UTF-8, U+2581 being a space; nothing merges across one that is no token, nor a bad byte
};

struct TrainingRules {
    TieBreak tie_break = TieBreak::kLowestPair;
    std::int64_t minimum_piece_count = 1;         // pieces below it are ignored
    std::int64_t minimum_pair_count = 1;          // training ends when no pair reaches it
    std::size_t longest_token = ~std::size_t{0};  // in bytes; a pair that would be longer never merges
    bool superwords = false;  // a pair never merges into more than four words, nor over a colon and a space (SuperBPE)
};

class BpeTrainer {
  public:
    /// `tokens[i]` is what has the id i while training ("": nothing that merges); merges get the ids behind them.
    BpeTrainer(const PieceCounts& pieces, std::vector<std::string> tokens, Symbols symbols, const TrainingRules& rules);

    /// Appends the ids of a piece.
    using Encode = std::function<void(std::string_view piece, std::vector<std::uint32_t>& ids)>;

    /// Begins with the ids that `encode`, of an encoder whose ordinary tokens `tokens` are, gives to each piece.
    BpeTrainer(const PieceCounts& pieces, std::vector<std::string> tokens, const Encode& encode,
               const TrainingRules& rules);

    /// Merges until there are `count` more tokens; returns how many there were to make. A merge whose bytes are a
    /// token already makes no new one: it keeps that one's id, as in Hugging Face's trainer.
    /// Raises std::logic_error after an earlier call ended in an exception, such as std::bad_alloc.
    std::size_t merge(std::size_t count);

    const std::vector<TokenPair>& merges() const { return merges_; }

  private:
    using Pair = std::uint64_t;  // pair_key(left, right)
    struct Symbol {
        std::uint32_t id, previous, next, piece;  // previous and next: kNone at a piece's ends
    };
    struct Occurrences {
        Pair pair;
        std::int64_t count = 0;
        std::vector<std::uint32_t> positions;  // of the left symbol, ascending; some may have been merged away
    };
    struct Entry {
        std::int64_t count;
        std::uint32_t pair;  // in pairs_
    };
    struct IsWorse {
        const BpeTrainer* trainer;
        bool operator()(const Entry& a, const Entry& b) const;
    };

    BpeTrainer(std::vector<std::string> tokens, const TrainingRules& rules);

    void reserve(std::size_t n_symbols);
    void add_symbols(const std::uint32_t* ids, std::size_t n, std::int64_t count);
    void fill_queue();
    std::uint32_t index_of(Pair pair);
    void grow_index();
    bool may_merge(Pair pair) const;
    bool merge_pair(std::uint32_t index);
    std::uint32_t id_of_merged(std::uint32_t left, std::uint32_t right);
    void change(std::uint32_t left_position, std::uint32_t right_position, int sign, std::vector<std::uint32_t>* fresh);

    TrainingRules rules_;
    std::vector<std::string> tokens_;
    std::unordered_map<std::string, std::uint32_t> ids_;
    std::vector<TokenPair> merges_;
    std::vector<std::int64_t> piece_counts_;
    std::vector<Symbol> symbols_;
    std::vector<Occurrences> pairs_;
    std::vector<std::uint32_t> index_;  // where in pairs_ a pair is, by its hash; at most half full
    std::priority_queue<Entry, std::vector<Entry>, IsWorse> queue_;
    bool is_interrupted_ = false;  // a call of `merge` ended in an exception
};

}  // namespace tilth
