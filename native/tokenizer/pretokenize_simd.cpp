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
    std::uint64_t apostrophe, slash;
    std::uint64_t wide_letter;  // all bytes of letters beyond ASCII
    std::uint64_t wide_tail;    // those of letters and symbols beyond ASCII, but for the first of each
    std::uint64_t unknown;      // what is beyond ASCII and neither

    std::uint64_t letter() const { return upper | lower | wide_letter; }
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

/// 64 bytes, and which of them pass a test.
class Bytes {
  public:
    explicit Bytes(const char* p) : bytes_(_mm512_loadu_si512(p)) {}
    /// From `first` on, `count` values.
    std::uint64_t below(int first, int count) const {
        const __m512i from_first = _mm512_sub_epi8(bytes_, _mm512_set1_epi8(static_cast<char>(first)));
        return _mm512_cmplt_epu8_mask(from_first, _mm512_set1_epi8(static_cast<char>(count)));
    }
    std::uint64_t is(int c) const { return _mm512_cmpeq_epi8_mask(bytes_, _mm512_set1_epi8(static_cast<char>(c))); }
    std::uint64_t non_ascii() const { return _mm512_movepi8_mask(bytes_); }

  private:
    __m512i bytes_;
};

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

class Bytes {
  public:
    explicit Bytes(const char* p)
        : low_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
          high_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))) {}
    std::uint64_t below(int first, int count) const {
        const __m256i from = _mm256_set1_epi8(static_cast<char>(first));
        const __m256i most = _mm256_set1_epi8(static_cast<char>(count - 1));
        const __m256i low = _mm256_sub_epi8(low_, from), high = _mm256_sub_epi8(high_, from);
        return bits_of(_mm256_cmpeq_epi8(_mm256_min_epu8(low, most), low),
                       _mm256_cmpeq_epi8(_mm256_min_epu8(high, most), high));
    }
    std::uint64_t is(int c) const {
        const __m256i same = _mm256_set1_epi8(static_cast<char>(c));
        return bits_of(_mm256_cmpeq_epi8(low_, same), _mm256_cmpeq_epi8(high_, same));
    }
    std::uint64_t non_ascii() const { return bits_of(low_, high_); }

  private:
    static std::uint64_t bits_of(__m256i low, __m256i high) {
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
               static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(high))) << 32;
    }

    __m256i low_, high_;
};

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

class Bytes {
  public:
    explicit Bytes(const char* p) {
        const auto* const bytes = reinterpret_cast<const std::uint8_t*>(p);
        for (int i = 0; i < 4; ++i) bytes_.val[i] = vld1q_u8(bytes + 16 * i);
    }
    std::uint64_t below(int first, int count) const {
        const uint8x16_t from = vdupq_n_u8(static_cast<std::uint8_t>(first));
        const uint8x16_t n = vdupq_n_u8(static_cast<std::uint8_t>(count));
        return where([=](uint8x16_t x) { return vcltq_u8(vsubq_u8(x, from), n); });
    }
    std::uint64_t is(int c) const {
        const uint8x16_t same = vdupq_n_u8(static_cast<std::uint8_t>(c));
        return where([=](uint8x16_t x) { return vceqq_u8(x, same); });
    }
    std::uint64_t non_ascii() const { return below(0x80, 0x80); }

  private:
    template <class Test>
    std::uint64_t where(Test test) const {
        return bits_of({test(bytes_.val[0]), test(bytes_.val[1]), test(bytes_.val[2]), test(bytes_.val[3])});
    }
    /// The top bits of 64 bytes, each 0x00 or 0xFF.
    static std::uint64_t bits_of(const uint8x16x4_t& v) {
        const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
        const uint8x16_t first = vpaddq_u8(vandq_u8(v.val[0], weights), vandq_u8(v.val[1], weights));
        const uint8x16_t second = vpaddq_u8(vandq_u8(v.val[2], weights), vandq_u8(v.val[3], weights));
        const uint8x16_t sums = vpaddq_u8(first, second);
        return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
    }

    uint8x16x4_t bytes_;
};

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
        // Behind a letter or digit no pattern continues with white space or a symbol. Apostrophes may belong to a
        // contraction, and marks to a word.
        const bool breaks = is_space(c.cls) || (c.cls == kOther && *p != '\'');
        if (breaks && (is_letter(previous) || previous == kNumber)) return static_cast<std::size_t>(p - text.data());
        previous = c.cls;
        p += c.length;
    }
    return text.size();
}

}  // namespace tilth
