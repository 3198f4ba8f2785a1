#include "pretokenize.h"

#include "../unicode/character_class.h"

namespace tilth {

namespace {

/// A test of a class that is compiled into the loop it is given to, as a function's address would not be.
template <bool (*kTest)(CharClass)>
constexpr auto is = [](CharClass c) { return kTest(c); };

/// The end of the run of characters from `p` whose class fulfils `wanted`.
template <class Wanted>
inline const char* run_end(const char* p, const char* end, Wanted wanted) {
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

/// `\s*[\r\n]+|\s+(?!\S)|\s`
const char* gpt4_space_end(const char* p, const char* end) {
    const SpaceRun run = space_run(p, end);
    return run.after_newline ? run.after_newline : space_piece_end(p, end, run);
}

const char* newlines_end(const char* p, const char* end) {
    return run_end(p, end, [](CharClass c) { return c == kNewline; });
}

/// Up to `kMaxDigits` numbers, the first of which ends at `p`.
template <int kMaxDigits>
const char* number_end(const char* p, const char* end) {
    int digits = 1;
    return run_end(p, end, [&](CharClass c) { return c == kNumber && digits++ < kMaxDigits; });
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s`, contractions first.
template <int kMaxDigits, bool kTailInOnePiece>
const char* gpt4_piece_end(const char* p, const char* end) {
    if (*p == '\'') {
        if (const char* found = contraction_end<true>(p, end)) return found;
    }
    const Character first = character_at(p, end);
    const char* const second = p + first.length;
    if (is_letter(first.cls)) return run_end(second, end, is<is_letter>);
    if (first.cls == kNumber) return number_end<kMaxDigits>(second, end);
    const CharClass next = second < end ? character_at(second, end).cls : kNewline;
    if (first.cls != kNewline && is_letter(next)) return run_end(second, end, is<is_letter>);
    if (is_symbol(first.cls) || (*p == ' ' && is_symbol(next))) {
        return newlines_end(run_end(second, end, is<is_symbol>), end);
    }
    if (kTailInOnePiece && space_run(p, end).end == end) return end;
    return gpt4_space_end(p, end);
}

bool is_lower_part(CharClass c) { return c == kLower || c == kLetter || c == kMark; }
bool is_upper_part(CharClass c) { return c == kUpper || c == kLetter || c == kMark; }

/// `U*l+`, or else `U+`, where letters without case and marks are both U and l; `p` itself if neither is there.
/// Where no lower-case letter follows U*, the regex gives back upper-case letters until it finds one for l+.
const char* cased_word_end(const char* p, const char* end, bool* has_lower) {
    const char* uncased_end = nullptr;
    const char* upper_end = p;
    for (; upper_end < end;) {
        const Character c = character_at(upper_end, end);
        if (!is_upper_part(c.cls)) break;
        upper_end += c.length;
        if (c.cls != kUpper) uncased_end = upper_end;
    }
    const char* const lower_end = run_end(upper_end, end, is<is_lower_part>);
    *has_lower = lower_end > upper_end || uncased_end != nullptr;
    if (lower_end > upper_end) return lower_end;
    return uncased_end != nullptr ? uncased_end : upper_end;
}

/// The word of o200k at `p`: an optional character before it, and a contraction behind it; nullptr if there is none.
const char* o200k_word_end(const char* p, const char* second, CharClass first, const char* end) {
    const bool may_lead = first != kNewline && first != kNumber && !is_letter(first);
    bool lower_behind = false, lower_here = false;
    const char* const behind = may_lead ? cased_word_end(second, end, &lower_behind) : second;
    const char* const here = cased_word_end(p, end, &lower_here);
    const char* word = nullptr;
    if (may_lead && lower_behind) {
        word = behind;
    } else if (lower_here) {
        word = here;
    } else if (may_lead && behind > second) {
        word = behind;
    } else if (here > p) {
        word = here;
    } else {
        return nullptr;
    }
    const char* const contraction = word < end && *word == '\'' ? contraction_end<true>(word, end) : nullptr;
    return contraction != nullptr ? contraction : word;
}

/// GPT-2's, with every number a piece of its own, cut off before the rest is looked at.
template <bool kSingleDigits>
const char* gpt2_style_piece_end(const char* p, const char* end) {
    if (*p == '\'') {
        if (const char* found = contraction_end<false>(p, end)) return found;
    }
    const char* const start = *p == ' ' && end - p > 1 ? p + 1 : p;
    const Character first = character_at(start, end);
    const char* const rest = start + first.length;
    if (is_letter(first.cls)) return run_end(rest, end, is<is_letter>);
    if (first.cls == kNumber && kSingleDigits) return start > p ? start : rest;
    if (first.cls == kNumber) return run_end(rest, end, [](CharClass c) { return c == kNumber; });
    if (is_symbol(first.cls)) return run_end(rest, end, is<is_symbol>);
    const SpaceRun run = space_run(p, end);
    if (kSingleDigits && run.end < end && character_at(run.end, end).cls == kNumber) return run.end;
    return space_piece_end(p, end, run);
}

}  // namespace

const char* gpt2_piece_end(const char* p, const char* end) { return gpt2_style_piece_end<false>(p, end); }

const char* smollm2_piece_end(const char* p, const char* end) { return gpt2_style_piece_end<true>(p, end); }

const char* cl100k_piece_end(const char* p, const char* end) { return gpt4_piece_end<3, true>(p, end); }

const char* llama3_piece_end(const char* p, const char* end) { return gpt4_piece_end<3, false>(p, end); }

const char* qwen2_piece_end(const char* p, const char* end) { return gpt4_piece_end<1, false>(p, end); }

const char* o200k_piece_end(const char* p, const char* end) {
    const Character first = character_at(p, end);
    const char* const second = p + first.length;
    if (const char* const word = o200k_word_end(p, second, first.cls, end)) return word;
    if (first.cls == kNumber) return number_end<3>(second, end);
    const CharClass next = second < end ? character_at(second, end).cls : kNewline;
    if (is_symbol(first.cls) || (*p == ' ' && is_symbol(next))) {
        const char* tail = run_end(second, end, is<is_symbol>);
        while (tail < end && (*tail == '\r' || *tail == '\n' || *tail == '/')) ++tail;
        return tail;
    }
    return gpt4_space_end(p, end);
}

PieceEnd piece_end_of(Pattern pattern) {
    switch (pattern) {
        case Pattern::kGpt2: return gpt2_piece_end;
        case Pattern::kSmollm2: return smollm2_piece_end;
        case Pattern::kCl100k: return cl100k_piece_end;
        case Pattern::kLlama3: return llama3_piece_end;
        case Pattern::kQwen2: return qwen2_piece_end;
        case Pattern::kO200k: return o200k_piece_end;
    }
    throw std::invalid_argument("unknown split pattern");
}

Pattern pattern_named(const std::string& name) {
    if (name == "gpt2") return Pattern::kGpt2;
    if (name == "smollm2") return Pattern::kSmollm2;
    if (name == "cl100k") return Pattern::kCl100k;
    if (name == "llama3") return Pattern::kLlama3;
    if (name == "qwen2") return Pattern::kQwen2;
    if (name == "o200k") return Pattern::kO200k;
    throw std::invalid_argument("unknown split pattern '" + name + "'");
}

}  // namespace tilth
