// The hot loop of encoding: pieces of one text through one thread's cache.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "bpe_encode.h"

namespace tilth {

class PieceEncoder {
  public:
    PieceEncoder(const BpeEncoder& encoder, PieceCache& cache, IdSink& out)
        : encoder_(encoder), cache_(cache), out_(out) {}

    /// Gives the sink the ids of all of `text`.
    void encode(std::string_view text, Pattern pattern);

  private:
    static constexpr std::size_t kPieces = 128;  // as many as the lines asked for that a processor keeps near
    static constexpr std::size_t kIds = 2048;

    void prepare(const char* start, const char* const* ends, std::size_t n);
    void look_up(const char* start, const char* const* ends, std::size_t n);
    void encode_unknown(std::string_view piece, const PieceKey& key, const KnownPieces::Line* line);
    void encode_rare(std::string_view piece);
    const FewIds& ids_of_character(std::string_view character, std::uint32_t code);
    void encode_inner(std::string_view part);
    void encode_new(std::string_view piece, const PieceKey& key, bool inner);
    void encode_whole(std::string_view piece, std::vector<std::uint32_t>& ids);
    bool take_known(const PieceKey& key, const KnownPieces::Line* line);
    bool take(std::span<const std::uint32_t> ids);
    void append(const std::uint32_t* ids, std::size_t count);
    void append(const FewIds& ids) { n_ids_ += ids.copy_to(ids_ + n_ids_); }
    void flush();

    const BpeEncoder& encoder_;
    PieceCache& cache_;
    IdSink& out_;
    const char* readable_end_ = nullptr;
    std::size_t n_ids_ = 0;
    PieceKey keys_[kPieces];
    const KnownPieces::Line* lines_[kPieces];
    std::uint32_t ids_[kIds + kPieces * FewIds::kMost];  // at most kIds before a batch
};

}  // namespace tilth
