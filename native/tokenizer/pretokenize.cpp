#include "pretokenize.h"

#include "../unicode/character_class.h"

namespace tilth {

namespace {

constexpr int kMaxDigits = 3;

/// The end of the run of characters from `p` whose class fulfils `wanted`.
template <class Wanted>
const char* run_end(const char* p, const char* end, Wanted wanted) {
    while (p < end) {
        const Character c = character_at(p, end);
        if (!wanted(c.cls)) break;
        p += c.length;
    }
    return p;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// The end of 's 't 'm 'd 'll 've 're at `p` (which holds the apostrophe), or nullptr.
template <bool kIgnoreCase>
const char* contraction_end(const char* p, const char* end) {
    const auto at = [&](int i) { return end - p > i ? (kIgnoreCase ? lower(p[i]) : p[i]) : '\0'; };
    const char first = at(1), second = at(2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
    if ((first == 'l' && second == 'l') || ((first == 'v' || first == 'r') && second == 'e')) return p + 3;
    // U+017F (long s) is an s when case is ignored, the one non-ASCII letter that folds into these words.
    if (kIgnoreCase && end - p > 2 && p[1] == '\xC5' && p[2] == '\xBF') return p + 3;
    return nullptr;
}

struct SpaceRun {
    const char* end;           // behind the last character of the run
    const char* last;          // where that last character starts
    const char* after_newline;  // behind the last CR or LF, or nullptr
};

SpaceRun space_run(const char* p, const char* end) {
    SpaceRun run{p, p, nullptr};
    while (run.end < end) {
        const Character c = character_at(run.end, end);
        if (!is_space(c.cls)) break;
        run.last = run.end;
        run.end += c.length;
        if (c.cls == kNewline) run.after_newline = run.end;
    }
    return run;
}

/// `\s+(?!\S)|\s`: a run leaves its last character to the word behind it.
const char* space_piece_end(const char* p, const char* end, const SpaceRun& run) {
    return run.end == end || run.last == p ? run.end : run.last;
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s`, contractions first.
template <bool kTailInOnePiece>
const char* gpt4_piece_end(const char* p, const char* end) {
    if (*p == '\'') {
        if (const char* found = contraction_end<true>(p, end)) return found;
    }
    const Character first = character_at(p, end);
    const char* const second = p + first.length;
    if (is_letter(first.cls)) return run_end(second, end, is_letter);
    if (first.cls == kNumber) {
        int digits = 1;
        return run_end(second, end, [&](CharClass c) { return c == kNumber && digits++ < kMaxDigits; });
    }
    const CharClass next = second < end ? character_at(second, end).cls : kNewline;
    if (first.cls != kNewline && is_letter(next)) return run_end(second, end, is_letter);
    if (is_symbol(first.cls) || (*p == ' ' && is_symbol(next))) {
        const char* const symbols = run_end(second, end, is_symbol);
        return run_end(symbols, end, [](CharClass c) { return c == kNewline; });
    }
    const SpaceRun run = space_run(p, end);
    if (kTailInOnePiece && run.end == end) return end;
    return run.after_newline ? run.after_newline : space_piece_end(p, end, run);
}

}  // namespace

const char* gpt2_piece_end(const char* p, const char* end) {
    if (*p == '\'') {
        if (const char* found = contraction_end<false>(p, end)) return found;
    }
    const char* const start = *p == ' ' && end - p > 1 ? p + 1 : p;
    const Character first = character_at(start, end);
    const char* const rest = start + first.length;
    if (is_letter(first.cls)) return run_end(rest, end, is_letter);
    if (first.cls == kNumber) return run_end(rest, end, [](CharClass c) { return c == kNumber; });
    if (is_symbol(first.cls)) return run_end(rest, end, is_symbol);
    return space_piece_end(p, end, space_run(p, end));
}

const char* cl100k_piece_end(const char* p, const char* end) { return gpt4_piece_end<true>(p, end); }

const char* llama3_piece_end(const char* p, const char* end) { return gpt4_piece_end<false>(p, end); }

Pattern pattern_named(const std::string& name) {
    if (name == "gpt2") return Pattern::kGpt2;
    if (name == "cl100k") return Pattern::kCl100k;
    if (name == "llama3") return Pattern::kLlama3;
    throw std::invalid_argument("unknown split pattern '" + name + "'");
}

}  // namespace tilth
