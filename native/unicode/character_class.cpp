#include "character_class.h"

#include <algorithm>

namespace tilth {

namespace {

struct Range {
    std::uint32_t first, last;
    CharClass cls;
};

constexpr Range kRanges[] = {
#include "ranges.inc"
};

bool is_continuation(const char* p) { return (static_cast<unsigned char>(*p) & 0xC0) == 0x80; }

std::uint32_t low_bits(const char* p) { return static_cast<unsigned char>(*p) & 0x3F; }

}  // namespace

CharClassTable::CharClassTable() {
    std::vector<CharClass> flat(0x110000, kOther);
    for (const Range& range : kRanges) {
        std::fill(flat.begin() + range.first, flat.begin() + range.last + 1, range.cls);
    }
    for (std::size_t i = 0; i < block_of_.size(); ++i) {
        Block block;
        std::copy_n(flat.begin() + static_cast<std::ptrdiff_t>(i * 256), 256, block.begin());
        auto found = std::find(blocks_.begin(), blocks_.end(), block);
        block_of_[i] = static_cast<std::uint8_t>(found - blocks_.begin());
        if (found == blocks_.end()) blocks_.push_back(block);
    }
}

const CharClassTable kCharClasses;

Character non_ascii_at(const char* p, const char* end) {
    const std::uint32_t lead = static_cast<unsigned char>(*p);
    const auto left = end - p;
    if (lead >= 0xC2 && lead <= 0xDF && left >= 2 && is_continuation(p + 1)) {
        return {kCharClasses.of((lead & 0x1F) << 6 | low_bits(p + 1)), 2};
    }
    if (lead >= 0xE0 && lead <= 0xEF && left >= 3 && is_continuation(p + 1) && is_continuation(p + 2)) {
        const std::uint32_t code = (lead & 0x0F) << 12 | low_bits(p + 1) << 6 | low_bits(p + 2);
        if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF)) return {kCharClasses.of(code), 3};
    }
    if (lead >= 0xF0 && lead <= 0xF4 && left >= 4 && is_continuation(p + 1) && is_continuation(p + 2) &&
        is_continuation(p + 3)) {
        const std::uint32_t code =
            (lead & 0x07) << 18 | low_bits(p + 1) << 12 | low_bits(p + 2) << 6 | low_bits(p + 3);
        if (code >= 0x10000 && code <= 0x10FFFF) return {kCharClasses.of(code), 4};
    }
    return {kOther, 1};
}

}  // namespace tilth
