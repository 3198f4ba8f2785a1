// The pieces of SentencePiece's `tokenizer.model`, a protocol buffer: read here because there are tens of thousands.
//
// Only the top level is parsed; trainer and normalizer settings are returned as they are.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace tilth {

struct ModelPiece {
    std::string_view text;
    float score = 0;
    std::uint8_t kind = 1;  // 255 means 255 or more
};

struct SentencePieceModel {
    std::vector<ModelPiece> pieces;
    std::vector<std::pair<std::uint64_t, std::string_view>> others;  // number and content of other fields that hold bytes
};

/// Reads `content`, which must outlive the result. Raises std::invalid_argument naming the byte that cannot be.
SentencePieceModel read_sentencepiece_model(std::string_view content);

}  // namespace tilth
