// SentencePiece-style BPE: characters merge, a space is a character like any other, and what has no token falls back to
// bytes or to "unknown".
//
// Text is cut wherever no merge can cross - before nearly every space, between nearly all Chinese characters - and each
// short run is merged on its own and cached: exact for every vocabulary, and linear but for long runs (n log n).
// An encoder is read-only but for its caches of runs, one to a thread at a time: threads share it, it survives fork,
// and encoders don't share caches. A cache begins with 0.2 MB and grows to 262,000 runs of up to 15 bytes (8 MB) and
// 65,000 of up to 31 (4 MB).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "idle_pool.h"
#include "merge_queue.h"
#include "sentencepiece_tables.h"
#include "special_tokens.h"

namespace tilth {

/// Text that is in no piece: index in the output, and how many bytes of text that id replaces.
using UnknownRuns = std::vector<std::pair<std::size_t, std::uint32_t>>;

template <class Id>
struct RunCache;

/// Which segments of a text get a space in front.
struct PrefixSpace {
    bool first = false, later = false;  // the one at the beginning of the text; those behind a special token
    bool unless_space = false;          // but not where the text begins with one
};

/// A part of a text that can be encoded apart from the others: a special token, or text without any.
struct Segment {
    std::string_view text;
    bool add_space = false;
    std::uint32_t special = kNone;
};

class SentencePieceEncoder {
  public:
    /// What `encode` may be asked for beside the ids.
    struct Options {
        bool add_space = false;          // in front of a text that is not empty
        UnknownRuns* unknown = nullptr;  // to be filled; lengths are those of the text with its space, U+2581 as one
        double dropout = 0;              // probability with which a merge that comes up passes by
        Random* random = nullptr;        // needed for dropout
        bool use_cache = true;           // false: every run is merged
    };

    explicit SentencePieceEncoder(SentencePieceTables tables);
    SentencePieceEncoder(SentencePieceEncoder&&) noexcept;
    ~SentencePieceEncoder();

    /// One more than the greatest id.
    std::size_t size() const { return tables_.size(); }

    /// Appends the ids of `text`, which `Id` (uint16_t or uint32_t) must be able to hold. U+2581 counts as a space; a
    /// byte that starts no valid UTF-8 is a character that is in no piece.
    template <class Id>
    void encode(std::string_view text, const Options& options, std::vector<Id>& out) const;

    /// The last position in `text` at which both parts encode alone as they do together (the second without `add_space`);
    /// 0 if there is none. The end of the text is none: what follows is not known.
    std::size_t last_cut(std::string_view text) const;

    /// Cuts `text` at `specials` (may be null) and then, where that is possible, into segments of `size` bytes or less.
    std::vector<Segment> segments(std::string_view text, const SpecialTokens* specials, PrefixSpace prefix,
                                  std::size_t size) const;

    /// Appends the ids of a segment.
    template <class Id>
    void encode(const Segment& segment, std::vector<Id>& out) const;

  private:
    struct Caches;

    void add_segments(std::string_view text, bool add_space, std::size_t size, std::vector<Segment>& out) const;

    SentencePieceTables tables_;
    std::optional<SpecialTokens> user_defined_;
    std::unique_ptr<Caches> caches_;
};

}  // namespace tilth
