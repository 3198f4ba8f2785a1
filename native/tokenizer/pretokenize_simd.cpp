#include "pretokenize_simd.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "../unicode/character_class.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define TILTH_X86 1
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define TILTH_NEON 1
#include <arm_neon.h>
#endif

namespace tilth {

namespace {

/// One bit for each of 64 bytes.
struct Masks {
    std::uint64_t upper, lower, digit;
    std::uint64_t space;    // ' '
    std::uint64_t blank;    // \s but CR and LF
    std::uint64_t newline;  // CR and LF
    std::uint64_t apostrophe, slash, non_ascii;
};

/// `walk` of one instruction set: ends of pieces to `out` until the text ends or `out_end` is near.
using Walk = const char* (*)(Pattern, const char* p, const char* end, PieceEnd, const char**& out,
                             const char** out_end);

const char* walk_scalar(Pattern, const char* p, const char* end, PieceEnd piece_end, const char**& out,
                        const char** const out_end) {
    while (p < end && out < out_end) {
        p = piece_end(p, end);
        *out++ = p;
    }
    return p;
}

#ifdef TILTH_X86

// The pragmas give every function between them the instruction set, those made from templates too, and only them:
// nothing of it can end up in code that an older processor runs.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx512 {

inline Masks classify(const char* p) {
    const __m512i v = _mm512_loadu_si512(p);
    const auto below = [&](__m512i x, char first, char count) {
        return _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, _mm512_set1_epi8(first)), _mm512_set1_epi8(count));
    };
    const auto is = [&](char c) { return _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c)); };
    Masks m;
    m.upper = below(v, 'A', 26);
    m.lower = below(v, 'a', 26);
    m.digit = below(v, '0', 10);
    m.space = is(' ');
    m.newline = is('\n') | is('\r');
    m.blank = (m.space | below(v, '\t', 5)) & ~m.newline;
    m.apostrophe = is('\'');
    m.slash = is('/');
    m.non_ascii = _mm512_movepi8_mask(v);
    return m;
}

#include "pretokenize_window.inc"

}  // namespace avx512
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx2 {

inline std::uint64_t bits_of(__m256i low, __m256i high) {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
           static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(high))) << 32;
}

inline std::uint64_t bytes_below(__m256i low, __m256i high, char first, char count) {
    const __m256i from = _mm256_set1_epi8(first), most = _mm256_set1_epi8(static_cast<char>(count - 1));
    low = _mm256_sub_epi8(low, from);
    high = _mm256_sub_epi8(high, from);
    return bits_of(_mm256_cmpeq_epi8(_mm256_min_epu8(low, most), low),
                   _mm256_cmpeq_epi8(_mm256_min_epu8(high, most), high));
}

inline std::uint64_t bytes_equal(__m256i low, __m256i high, char c) {
    const __m256i same = _mm256_set1_epi8(c);
    return bits_of(_mm256_cmpeq_epi8(low, same), _mm256_cmpeq_epi8(high, same));
}

inline Masks classify(const char* p) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32));
    Masks m;
    m.upper = bytes_below(low, high, 'A', 26);
    m.lower = bytes_below(low, high, 'a', 26);
    m.digit = bytes_below(low, high, '0', 10);
    m.space = bytes_equal(low, high, ' ');
    m.newline = bytes_equal(low, high, '\n') | bytes_equal(low, high, '\r');
    m.blank = (m.space | bytes_below(low, high, '\t', 5)) & ~m.newline;
    m.apostrophe = bytes_equal(low, high, '\'');
    m.slash = bytes_equal(low, high, '/');
    m.non_ascii = bits_of(low, high);
    return m;
}

#include "pretokenize_window.inc"

}  // namespace avx2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // TILTH_X86

#ifdef TILTH_NEON

namespace neon {

/// The top bits of 64 bytes, each 0x00 or 0xFF.
inline std::uint64_t bits_of(const uint8x16x4_t& v) {
    const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t first = vpaddq_u8(vandq_u8(v.val[0], weights), vandq_u8(v.val[1], weights));
    const uint8x16_t second = vpaddq_u8(vandq_u8(v.val[2], weights), vandq_u8(v.val[3], weights));
    const uint8x16_t sums = vpaddq_u8(first, second);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

template <class Test>
inline std::uint64_t bytes_where(const uint8x16x4_t& v, Test test) {
    return bits_of({test(v.val[0]), test(v.val[1]), test(v.val[2]), test(v.val[3])});
}

inline Masks classify(const char* p) {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(p);
    const uint8x16x4_t v = {vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)};
    const auto below = [&](std::uint8_t first, std::uint8_t count) {
        const uint8x16_t from = vdupq_n_u8(first), n = vdupq_n_u8(count);
        return bytes_where(v, [=](uint8x16_t x) { return vcltq_u8(vsubq_u8(x, from), n); });
    };
    const auto is = [&](std::uint8_t c) {
        return bytes_where(v, [=](uint8x16_t x) { return vceqq_u8(x, vdupq_n_u8(c)); });
    };
    Masks m;
    m.upper = below('A', 26);
    m.lower = below('a', 26);
    m.digit = below('0', 10);
    m.space = is(' ');
    m.newline = is('\n') | is('\r');
    m.blank = (m.space | below('\t', 5)) & ~m.newline;
    m.apostrophe = is('\'');
    m.slash = is('/');
    m.non_ascii = bytes_where(v, [](uint8x16_t x) { return vcgeq_u8(x, vdupq_n_u8(0x80)); });
    return m;
}

#include "pretokenize_window.inc"

}  // namespace neon

#endif  // TILTH_NEON

struct InstructionSet {
    const char* name;
    Walk walk;
    bool runs_here;
};

const std::array<InstructionSet, 4>& all_sets() {
    static const std::array<InstructionSet, 4> sets = {{
#if defined(TILTH_X86)
        {"avx512", avx512::walk_pattern, __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2")},
        {"avx2", avx2::walk_pattern, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")},
        {"", nullptr, false},
#elif defined(TILTH_NEON)
        {"neon", neon::walk_pattern, true},
        {"", nullptr, false},
        {"", nullptr, false},
#else
        {"", nullptr, false},
        {"", nullptr, false},
        {"", nullptr, false},
#endif
        {"scalar", walk_scalar, true},
    }};
    return sets;
}

Walk best_walk() {
    return std::find_if(all_sets().begin(), all_sets().end(), [](const auto& set) { return set.runs_here; })->walk;
}

std::atomic<Walk> chosen_walk{best_walk()};

}  // namespace

std::size_t PieceWalker::next(const char** ends, std::size_t capacity) {
    const char** out = ends;
    p_ = chosen_walk.load(std::memory_order_relaxed)(pattern_, p_, end_, piece_end_, out, ends + capacity);
    return static_cast<std::size_t>(out - ends);
}

std::string instruction_sets() {
    std::string names;
    for (const InstructionSet& set : all_sets()) {
        if (!set.runs_here) continue;
        if (!names.empty()) names += ' ';
        names += set.name;
    }
    return names;
}

void use_instruction_set(const std::string& name) {
    for (const InstructionSet& set : all_sets()) {
        if (set.runs_here && name == set.name) {
            chosen_walk = set.walk;
            return;
        }
    }
    throw std::invalid_argument("this machine has no instruction set '" + name + "', but: " + instruction_sets());
}

std::size_t safe_cut(std::string_view text, std::size_t from) {
    const char* const end = text.data() + text.size();
    const char* p = text.data() + std::min(from, text.size());
    while (p < end && (static_cast<unsigned char>(*p) & 0xC0) == 0x80) ++p;
    CharClass previous = kOther;
    while (p < end) {
        const Character c = character_at(p, end);
        // Behind a letter or digit no pattern goes on with white space or a symbol. Apostrophes may belong to a
        // contraction, and marks to a word.
        const bool breaks = is_space(c.cls) || (c.cls == kOther && *p != '\'');
        if (breaks && (is_letter(previous) || previous == kNumber)) return static_cast<std::size_t>(p - text.data());
        previous = c.cls;
        p += c.length;
    }
    return text.size();
}

}  // namespace tilth
