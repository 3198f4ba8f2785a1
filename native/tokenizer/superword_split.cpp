#include "superword_split.h"

#include "../unicode/character_class.h"

namespace tilth {

namespace {

/// Behind up to `most` numbers from `p` (0: all); `p` if there is none.
const char* numbers_end(const char* p, const char* end, int most) {
    for (int n = 0; p < end && (most == 0 || n < most); ++n) {
        const Character c = character_at(p, end);
        if (c.cls != kNumber) break;
        p += c.length;
    }
    return p;
}

/// Behind two or more symbols from `p` and the line ends and slashes that follow; nullptr if there are not two.
const char* symbols_end(const char* p, const char* end) {
    int symbols = 0;
    for (; p < end; ++symbols) {
        const Character c = character_at(p, end);
        if (!is_symbol(c.cls)) break;
        p += c.length;
    }
    if (symbols < 2) return nullptr;
    while (p < end && (*p == '\r' || *p == '\n' || *p == '/')) ++p;
    return p;
}

/// ` +(?!\S)`: a run of spaces leaves its last to what is no white space; nullptr if nothing is left of it.
const char* spaces_end(const char* p, const char* end) {
    const char* const start = p;
    while (p < end && *p == ' ') ++p;
    if (p < end && !is_space(character_at(p, end).cls)) --p;
    return p > start ? p : nullptr;
}

/// The end of the match that begins at `p`, or nullptr.
const char* match_end(const char* p, const char* end, int most_digits) {
    const char* const second = *p == ' ' ? p + 1 : p;
    const char* const digits = most_digits == 0 ? second : p;
    if (const char* const found = numbers_end(digits, end, most_digits); found > digits) return found;
    if (const char* const found = symbols_end(second, end)) return found;
    return *p == ' ' ? spaces_end(p, end) : nullptr;
}

}  // namespace

std::vector<std::int64_t> superword_ends(std::string_view text, int most_digits) {
    std::vector<std::int64_t> ends;
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    const char* piece = begin;
    const auto end_piece = [&](const char* p) {
        if (p > piece) ends.push_back(p - begin);
        piece = p;
    };
    for (const char* p = begin; p < end;) {
        if (const char* const found = match_end(p, end, most_digits)) {
            end_piece(p);
            end_piece(found);
            p = found;
        } else {
            p += character_at(p, end).length;
        }
    }
    end_piece(end);
    return ends;
}

}  // namespace tilth
