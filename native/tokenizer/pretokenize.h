// Splits text into pieces as the regexes of the known tokenizers do, without a regex engine.
//
// Each pattern is a function that finds the end of the piece that starts at a position: the ground truth, which any
// faster version is checked against byte by byte (`PieceWalker`, pretokenize_simd.h, is that version). Every
// character is looked at a bounded number of times: linear on any input. Pieces join up to the text; nothing is
// left out.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace tilth {

/// cl100k is tiktoken's present form, which takes white space at the end of a text as one piece; llama3 is the form
/// of Meta and Hugging Face, which still cuts it behind its last newline. They differ nowhere else. qwen2 is llama3
/// with single digits, smollm2 is gpt2 with single digits that are cut off first.
enum class Pattern { kGpt2, kSmollm2, kCl100k, kLlama3, kQwen2, kO200k };

/// Raises std::invalid_argument for an unknown name.
Pattern pattern_named(const std::string& name);

/// The end of the piece that starts at `p` (p < end), where `p` is the start of a text or the end of a piece.
using PieceEnd = const char* (*)(const char* p, const char* end);

PieceEnd piece_end_of(Pattern pattern);

}  // namespace tilth
