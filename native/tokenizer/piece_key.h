// Up to 15 bytes of text as a number of 128 bits: pieces and tokens of that size are their own keys in tables.
//
// Little-endian machines only, as all that Python wheels are built for.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace tilth {

/// The bytes, zeros, and in the last byte their number.
struct alignas(16) PieceKey {
    std::uint64_t low = 0, high = 0;

    static constexpr std::size_t kMostBytes = 15;

    /// Without a branch between the halves, which processors would often guess wrong.
    bool operator==(const PieceKey& other) const {
#ifdef __SSE2__
        const auto* const a = reinterpret_cast<const __m128i*>(this);
        const auto* const b = reinterpret_cast<const __m128i*>(&other);
        return _mm_movemask_epi8(_mm_cmpeq_epi32(_mm_load_si128(a), _mm_load_si128(b))) == 0xFFFF;
#else
        return ((low ^ other.low) | (high ^ other.high)) == 0;
#endif
    }

    /// Its upper bits are the ones to use.
    std::uint64_t hash() const { return low * 0x9E3779B97F4A7C15 + high * 0xD6E8FEB86659FD93; }
};

namespace detail {

struct KeyMask {
    std::uint64_t low, high, tag;
};

/// By size; the entry of 16, for all that are too long, makes a key that nothing has.
constexpr std::array<KeyMask, 17> kKeyMasks = [] {
    std::array<KeyMask, 17> masks{};
    const auto low_bytes = [](std::size_t n) { return n == 0 ? 0 : ~std::uint64_t{0} >> (64 - 8 * n); };
    for (std::size_t size = 0; size <= PieceKey::kMostBytes; ++size) {
        masks[size] = {low_bytes(std::min<std::size_t>(size, 8)), size > 8 ? low_bytes(size - 8) : 0,
                       std::uint64_t{size} << 56};
    }
    masks[16] = {0, 0, ~std::uint64_t{0}};
    return masks;
}();

}  // namespace detail

/// The key of `size` bytes at `p`, of which 16 can be read. One of 16 bytes or more equals no other's.
inline PieceKey readable_key(const char* p, std::size_t size) {
    const detail::KeyMask& mask = detail::kKeyMasks[std::min<std::size_t>(size, 16)];
    PieceKey key;
    std::memcpy(&key.low, p, 8);
    std::memcpy(&key.high, p + 8, 8);
    return {key.low & mask.low, (key.high & mask.high) | mask.tag};
}

/// The same where no more than the bytes themselves can be read.
inline PieceKey key_of(std::string_view bytes) {
    char padded[16] = {};
    std::memcpy(padded, bytes.data(), std::min(bytes.size(), sizeof padded));
    return readable_key(padded, bytes.size());
}

}  // namespace tilth
