// What the fuzzers share: random text, in an allocation of its exact size, and a check that ends the program.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>

using Dice = std::mt19937_64;

inline const char* const kBits[] = {
    "a",  "b",  "S",  "t",  "LL", " ",  " ",  "  ",       "\n",   "\r\n", "\t",   "1",        "23",       "'",      "'s",
    "'re", "'Ll", ".", "/",  "//", "-",  "--", "word",     " Word", "é",   "漢",   "字",       "的",       "。",     "あ",
    "ſ",  "\xCC\x81", "😀", "\xFF", "\xE6\xBC", "\xC2\xA0", " 漢", "camelCase", "UPPER", "<s>", "<s><t>", "0000", "    ",
    ".\n", "\n  \n", "\xE2\x96\x81", "ж", " не", "\xED\xA0\x80", "\xE0\x80\x80", "\xF0\x9F", "हि",
    "न्द", " اَل", "ไทย", "Việt", "Ελ", "٣", "½", "\xE2\x80\xA8", "ǅ", "カ", "ー", "，", "“", "한국"};

inline std::size_t below(Dice& random, std::size_t n) { return random() % n; }

inline void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "FAILED: %s\n", what);
    std::abort();
}

inline std::string random_text(Dice& random) {
    std::string text;
    const std::size_t n = below(random, 8) == 0 ? below(random, 3000) : below(random, 60);
    const std::size_t kind = below(random, 5);
    for (std::size_t i = 0; i < n; ++i) {
        if (kind == 0) {
            text += static_cast<char>(random());
        } else if (kind == 1) {
            text += static_cast<char>(' ' + below(random, 95));
        } else if (kind == 2) {
            text += kBits[below(random, 6)];
        } else {
            text += kBits[below(random, std::size(kBits))];
        }
    }
    return text;
}

/// Lets the `n`th allocation from now on fail, and no other; 0: none fails.
void fail_allocation(std::size_t n);

/// Runs `body`, in which one of the next `most` allocations fails. Returns whether that ended it.
template <class Body>
bool is_ended_by_failing_allocation(Dice& random, std::size_t most, Body&& body) {
    fail_allocation(1 + below(random, most));
    try {
        body();
    } catch (const std::bad_alloc&) {
        fail_allocation(0);
        return true;
    }
    fail_allocation(0);
    return false;
}

/// A copy with nothing behind it.
struct Exact {
    explicit Exact(const std::string& text) : bytes(new char[text.size()]), size(text.size()) {
        std::copy(text.begin(), text.end(), bytes.get());
    }
    std::string_view view() const { return {bytes.get(), size}; }
    std::unique_ptr<char[]> bytes;
    std::size_t size;
};

/// Random vocabularies, whole and broken, through the SentencePiece-style encoder, against merging a text as a whole.
void fuzz_sentencepiece(Dice& random);
