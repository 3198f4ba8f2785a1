// Exact byte-level BPE: of all adjacent pairs the one of lowest rank merges first, the leftmost of equals.
//
// Text is cut into pieces by the hundred; each is looked for in a cache, whose lines were asked for while the others
// were being cut. What is not there is merged (bpe_merge.h): a vocabulary of ranks by the bytes of two tokens, so that
// no table of pairs has to be built, one of merges by their ids. Runs of Chinese and the like, which hardly repeat, are
// cut where no token reaches from one character into the next: there no merge can cross. An encoder is read-only but
// for its caches, one to a thread at a time: threads share it, and it survives fork.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bpe_merge.h"
#include "hash_tables.h"
#include "idle_pool.h"
#include "join_filter.h"
#include "piece_cache.h"
#include "pretokenize.h"
#include "pretokenize_simd.h"
#include "special_tokens.h"
#include "token_table.h"

namespace tilth {

using TokenPair = std::pair<std::uint32_t, std::uint32_t>;

/// Where ids go, some thousand at a time.
class IdSink {
  public:
    virtual ~IdSink() = default;
    virtual void append(const std::uint32_t* ids, std::size_t count) = 0;
};

/// A vector that grows.
template <class Id>
class VectorSink : public IdSink {
  public:
    /// `text_bytes`: the size of the text, for a guess at the number of ids.
    explicit VectorSink(std::size_t text_bytes) { values.reserve(text_bytes / 4); }

    void append(const std::uint32_t* ids, std::size_t count) override {
        values.insert(values.end(), ids, ids + count);
    }
    std::vector<Id> values;
};

/// Somebody's array. What does not fit is only counted.
template <class Id>
class ArraySink : public IdSink {
  public:
    ArraySink(Id* data, std::size_t capacity) : data_(data), capacity_(capacity) {}
    void append(const std::uint32_t* ids, std::size_t count) override {
        if (this->count < capacity_) {
            const std::size_t fits = std::min(count, capacity_ - this->count);
            std::transform(ids, ids + fits, data_ + this->count, [](std::uint32_t id) { return static_cast<Id>(id); });
        }
        this->count += count;
    }
    std::size_t count = 0;

  private:
    Id* data_;
    std::size_t capacity_;
};

/// A part of a text that can be encoded apart from the others: a special token, or text without any.
struct Span {
    std::string_view text;
    std::uint32_t special = kNone;
};

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

    /// Gives `out` the ids of `text`, which is cut at `specials` (may be null) and then by `pattern`.
    void encode(std::string_view text, Pattern pattern, const SpecialTokens* specials, IdSink& out) const;

    /// Cuts `text` into spans, those of ordinary text of `size` bytes or little more where that is possible.
    static std::vector<Span> spans(std::string_view text, const SpecialTokens* specials, std::size_t size);
    void encode(const Span& span, Pattern pattern, IdSink& out) const;

    /// Appends the bytes of `ids` to `out`. Raises std::out_of_range naming an id that is no token.
    void decode(const std::uint32_t* ids, std::size_t count, std::string& out) const;

    /// Every pair of tokens that merges, in the order of (rank, left, right).
    std::vector<TokenPair> merges() const;

  private:
    BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids, std::size_t n_pairs,
               bool whole_pieces);

    void add_merge(TokenPair pair, Merge merge);
    bool take_whole(std::string_view piece, std::vector<std::uint32_t>& out) const;
    void ask_for_tokens(std::string_view piece) const;
    void merge_piece(std::string_view piece, std::vector<std::uint32_t>& out) const;

    friend class PieceEncoder;

    std::vector<std::string> tokens_;
    std::vector<bool> is_special_;
    bool whole_pieces_;       // a piece that is a token becomes it
    TokenTable token_ids_;    // every ordinary token
    ByteTokens bytes_;
    JoinFilter joins_;
    std::optional<PairTable> pairs_;  // none: tokens whose bytes join to a token merge
    std::vector<TokenPair> merges_;   // the same in their order
    std::unique_ptr<IdlePool<PieceCache>> caches_ = std::make_unique<IdlePool<PieceCache>>();
};

}  // namespace tilth
