#include "join_filter.h"

#include <algorithm>
#include <bit>

namespace tilth {

namespace {

/// Calls `visit(token, at)` for each place in a token between a trailing byte and the lead of three bytes.
template <class Visit>
void for_each_place(const std::vector<std::string>& tokens, Visit visit) {
    for (const std::string& token : tokens) {
        for (std::size_t at = 1; at < token.size(); ++at) {
            if ((token[at] & 0xF0) == 0xE0 && (token[at - 1] & 0xC0) == 0x80) visit(token, at);
        }
    }
}

constexpr std::size_t kBitsPerPlace = 16;
constexpr std::size_t kFewestBits = 1 << 10;

}  // namespace

JoinFilter::JoinFilter(const std::vector<std::string>& tokens) {
    std::size_t places = 0;
    for_each_place(tokens, [&](const std::string&, std::size_t) { ++places; });
    const std::size_t n_bits = std::bit_ceil(std::max(kFewestBits, kBitsPerPlace * places));
    bits_.assign(n_bits / 64, 0);
    shift_ = 64 - std::countr_zero(n_bits);
    for_each_place(tokens, [&](const std::string& token, std::size_t place) { add(token, place); });
}

void JoinFilter::add(const std::string& token, std::size_t place) {
    const bool part_left = place < 3, part_right = token.size() - place < 3;
    const char* const p = token.data() + place;
    const std::uint64_t left = part_left ? static_cast<unsigned char>(p[-1]) : bytes_at(p - 3);
    const std::uint64_t right = part_right ? static_cast<unsigned char>(*p) : bytes_at(p);
    const Shape shape = part_left ? (part_right ? kPartBoth : kPartLeft) : (part_right ? kPartRight : kWhole);
    const std::uint64_t at = index(shape, left, right);
    bits_[at >> 6] |= std::uint64_t{1} << (at & 63);
}

std::size_t JoinFilter::first_cut(std::string_view piece) const {
    const char* const data = piece.data();
    const std::size_t n = piece.size();
    bool three_before = false;
    for (std::size_t i = 0; i + 3 <= n;) {
        const bool three = is_three_bytes(data + i);
        if (three && three_before && !may_join(data + i)) return i;
        three_before = three;
        i += three ? 3 : 1;
    }
    return n;
}

}  // namespace tilth
