// SentencePiece-style BPE: characters merge, a space is a character like any other, and what has no token falls back to
// bytes or to "unknown".
//
// No merge can join two neighbouring characters that stand side by side in no piece. So text is cut wherever that is
// the case - before nearly every space, between nearly all Chinese characters - and each short run is merged on its own
// and remembered: exact for every vocabulary, and linear but for long runs (n log n). A thread remembers some 49,000 runs (2 MB).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hash_tables.h"
#include "merge_queue.h"
#include "special_tokens.h"

namespace tilth {

/// A vocabulary as the encoder needs it. Spaces in pieces are spaces, not U+2581.
struct SentencePieces {
    std::vector<std::string> pieces;          // by id; "" where text never gives this id by merging
    std::vector<std::uint32_t> byte_ids;      // 256 ids, or none: no byte fallback
    std::uint32_t unknown_id = kNone;         // for what is in no piece, where there is no byte fallback
    std::vector<std::uint32_t> user_defined;  // ids of pieces that are taken whole, wherever they stand
    bool split_at_spaces = false;             // a run ends before every space, whatever the merges would give
};

/// Where encoding met what is in no piece: index in the output, and how many bytes of text stand behind that id.
using UnknownRuns = std::vector<std::pair<std::size_t, std::uint32_t>>;

class SentencePieceEncoder {
  public:
    /// Any two neighbours whose join is a piece merge, the least `ranks[id]` first (kNone: never made by merging).
    /// Raises std::invalid_argument naming the entry that cannot work.
    static SentencePieceEncoder from_ranks(SentencePieces vocabulary, const std::vector<std::uint32_t>& ranks);

    /// Only the pairs of ids in `merges` merge, in this order. Raises as `from_ranks`.
    static SentencePieceEncoder from_merges(SentencePieces vocabulary,
                                            const std::vector<std::pair<std::uint32_t, std::uint32_t>>& merges);

    /// What `encode` may be asked for beside the ids.
    struct Options {
        bool add_space = false;          // in front of a text that is not empty
        UnknownRuns* unknown = nullptr;  // to be filled; lengths are those of the text with its space
        double dropout = 0;              // probability with which a merge that comes up passes by
        Random* random = nullptr;        // needed for dropout
    };

    /// Appends the ids of `text`. U+2581 counts as a space; a byte that starts no valid UTF-8 is a character that is in
    /// no piece.
    void encode(std::string_view text, const Options& options, std::vector<std::uint32_t>& out) const;

    /// The last place in `text` at which both parts encode alone as they do together (the second without `add_space`);
    /// 0 if there is none. The end of the text is no such place: what follows is not known.
    std::size_t last_cut(std::string_view text) const;

  private:
    struct Symbol {
        std::uint32_t id = kNone;  // of the one-character piece; from pieces.size() up: in pieces, but none itself
        bool joins_next = false, joins_previous = false;  // stands beside another character in some piece
    };
    struct Sink;
    using Ids = std::unordered_map<std::string_view, std::uint32_t>;

    explicit SentencePieceEncoder(SentencePieces vocabulary);

    Ids find_ids();
    void add_characters(std::string_view piece, const Ids& ids);
    Symbol symbol(std::uint32_t code) const { return pages_[page_of_[code >> 8]][code & 0xFF]; }
    Symbol& symbol_to_change(std::uint32_t code);
    bool may_join(std::uint32_t left, std::uint32_t right) const;
    bool stand_in_a_piece(std::uint32_t left, std::uint32_t right) const;
    void encode_segment(std::string_view text, Sink& sink) const;
    void encode_character(std::uint32_t code, std::string_view bytes, Sink& sink) const;
    void encode_run(std::string_view run, std::size_t readable, Sink& sink) const;
    bool merge_run(std::string_view run, Sink& sink) const;
    bool emit_unknown(std::string_view bytes, Sink& sink) const;

    SentencePieces vocabulary_;
    std::uint64_t serial_;            // tells encoders apart in a thread's memory of runs
    std::vector<std::string> parts_;  // characters that stand in pieces but are none, by id - pieces.size()
    std::array<std::uint16_t, 0x1100> page_of_{};
    std::vector<std::array<Symbol, 256>> pages_;
    std::array<std::array<bool, 128>, 128> ascii_joins_{};
    PairTable joins_{0};
    PairTable pairs_{0};
    SpecialTokens user_defined_;
};

}  // namespace tilth
