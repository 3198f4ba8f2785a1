#include "join_filter.h"

#include <algorithm>
#include <bit>

namespace tilth {

namespace {

/// Calls `visit(token, at)` for each position in a token between a trailing byte and the lead of three bytes.
template <class Visit>
void for_each_boundary(const std::vector<std::string>& tokens, Visit visit) {
    for (const std::string& token : tokens) {
        for (std::size_t at = 1; at < token.size(); ++at) {
            if ((token[at] & 0xF0) == 0xE0 && (token[at - 1] & 0xC0) == 0x80) visit(token, at);
        }
    }
}

constexpr std::size_t kBitsPerBoundary = 16;
constexpr std::size_t kFewestBits = 1 << 10;

}  // namespace

JoinFilter::JoinFilter(const std::vector<std::string>& tokens) {
    std::size_t boundaries = 0;
    for_each_boundary(tokens, [&](const std::string&, std::size_t) { ++boundaries; });
    const std::size_t n_bits = std::bit_ceil(std::max(kFewestBits, kBitsPerBoundary * boundaries));
    pairs_.assign(n_bits / 64, 0);
    shift_ = 64 - std::countr_zero(n_bits);
    for_each_boundary(tokens, [&](const std::string& token, std::size_t position) { add(token, position); });
}

void JoinFilter::add(const std::string& token, std::size_t position) {
    const char* const p = token.data() + position;
    const bool whole_left = position >= 3, whole_right = token.size() - position >= 3;
    const std::uint32_t left = whole_left ? three_byte_code(p - 3) : 0, right = whole_right ? three_byte_code(p) : 0;
    if (whole_left && whole_right) {
        joins_[left] |= kNext;
        joins_[right] |= kPrevious;
        const std::size_t at = index(left, right);
        pairs_[at >> 6] |= std::uint64_t{1} << (at & 63);
    } else if (whole_left) {
        joins_[left] |= kNextPart;
    } else if (whole_right) {
        joins_[right] |= kPreviousPart;
    } else {
        part_joins_[p[-1] & 0x3F] |= static_cast<std::uint16_t>(1u << (*p & 0x0F));
    }
}

}  // namespace tilth
