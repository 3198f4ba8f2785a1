// Splits text into pieces as the regexes of the known tokenizers do, without a regex engine.
//
// Each pattern is a function that finds the end of the piece that starts at a position, so the same code serves
// encoding, counting and tests, and a faster version can be checked against it byte by byte. Every character is
// looked at a bounded number of times: linear on any input. Pieces join up to the text; nothing is left out.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace tilth {

/// cl100k is tiktoken's present form, which takes white space at the end of a text as one piece; llama3 is the form
/// of Meta and Hugging Face, which still cuts it behind its last newline. They differ nowhere else.
enum class Pattern { kGpt2, kCl100k, kLlama3 };

/// Raises std::invalid_argument for an unknown name.
Pattern pattern_named(const std::string& name);

const char* gpt2_piece_end(const char* p, const char* end);
const char* cl100k_piece_end(const char* p, const char* end);
const char* llama3_piece_end(const char* p, const char* end);

/// Calls `visit(std::string_view piece)` for each piece of `text` in order.
template <class Visit>
void for_each_piece(Pattern pattern, std::string_view text, Visit&& visit) {
    const char* p = text.data();
    const char* const end = p + text.size();
    const auto walk = [&](auto piece_end) {
        while (p < end) {
            const char* const next = piece_end(p, end);
            visit(std::string_view(p, static_cast<std::size_t>(next - p)));
            p = next;
        }
    };
    switch (pattern) {
        case Pattern::kGpt2: return walk(gpt2_piece_end);
        case Pattern::kCl100k: return walk(cl100k_piece_end);
        case Pattern::kLlama3: return walk(llama3_piece_end);
    }
}

}  // namespace tilth
