// The hot loop of encoding: pieces of one text through one thread's cache.
#pragma once

#include <cstdint>
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
    static constexpr std::size_t kPieces = 320;
    static constexpr std::size_t kIds = 2048;

    struct Probe {
        PieceKey key;
        std::uint64_t hash;
    };

    void prepare(const char* start, const char* const* ends, std::size_t n);
    void look_up(const char* start, const char* const* ends, std::size_t n);
    PieceKey key_of(std::string_view piece, std::uint64_t flags) const;
    void encode_unknown(std::string_view piece, const Probe& probe);
    void encode_short(std::string_view piece, const Probe& probe, bool inner);
    void encode_middle(std::string_view piece, const Probe& probe, bool inner);
    void encode_rare(std::string_view piece);
    void encode_inner(std::string_view part);
    const std::vector<std::uint32_t>& ids_of(std::string_view piece, bool inner);
    void keep_middle(std::string_view piece, bool inner, const std::vector<std::uint32_t>& ids);
    void append(const std::uint32_t* ids, std::size_t count);
    void append(const IdWords& words);
    void flush();

    const BpeEncoder& encoder_;
    PieceCache& cache_;
    IdSink& out_;
    const char* readable_end_ = nullptr;
    std::size_t n_ids_ = 0;
    Probe probes_[kPieces];
    std::uint32_t ids_[kIds + 2 * PackedIds::kMost];
};

}  // namespace tilth
