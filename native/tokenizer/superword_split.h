// Splits text for merging across words, as SuperBPE's second stage does: words stay together, numbers stay apart.
//
// `DIGITS| ?[^\s\p{L}\p{N}]{2,}[\r\n/]*| +(?!\S)`, and the text between its matches. Pieces are long (the text
// between two numbers, runs of punctuation or runs of spaces), so there is nothing to gain from SIMD.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tilth {

/// Where the pieces of `text` end, in bytes. DIGITS is `\p{N}{1,most_digits}`, or ` ?\p{N}+` for 0.
std::vector<std::int64_t> superword_ends(std::string_view text, int most_digits);

}  // namespace tilth
