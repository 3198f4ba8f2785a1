#include "rank_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

namespace tilth {

namespace {

constexpr std::uint8_t kNoDigit = 0xFF;

constexpr std::array<std::uint8_t, 256> kDigits = [] {
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::array<std::uint8_t, 256> digits{};
    digits.fill(kNoDigit);
    for (std::size_t i = 0; i < alphabet.size(); ++i) {
        digits[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    }
    return digits;
}();

/// The bytes of a base64 text with its padding, or "", which no token is.
std::string decode_base64(std::string_view text) {
    if (text.empty() || text.size() % 4 != 0) return "";
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    std::string bytes(text.size() / 4 * 3, '\0');
    std::uint8_t wrong = 0;
    for (std::size_t i = 0; i < text.size(); i += 4) {
        std::uint32_t bits = 0;
        for (std::size_t k = i; k < i + 4; ++k) {
            const bool is_padding = k + padding >= text.size();
            const std::uint8_t digit = is_padding ? 0 : kDigits[static_cast<unsigned char>(text[k])];
            wrong |= digit;
            bits = bits << 6 | (digit & 63);
        }
        for (std::size_t k = 0; k < 3; ++k) bytes[i / 4 * 3 + k] = static_cast<char>(bits >> (16 - 8 * k));
    }
    if ((wrong & 0x80) != 0) return "";
    bytes.resize(bytes.size() - padding);
    return bytes;
}

}  // namespace

std::optional<std::vector<std::string>> parse_rank_file(std::string_view content, std::size_t most_rank) {
    std::vector<std::string> tokens;
    while (!content.empty()) {
        const std::string_view line = content.substr(0, content.find('\n'));
        content.remove_prefix(std::min(content.size(), line.size() + 1));
        const std::size_t space = line.find(' ');
        if (space == line.npos) return std::nullopt;
        std::string token = decode_base64(line.substr(0, space));
        std::size_t rank = 0;
        const char* const end = line.data() + line.size();
        const auto number = std::from_chars(line.data() + space + 1, end, rank);
        if (token.empty() || number.ec != std::errc() || number.ptr != end || rank > most_rank) return std::nullopt;
        if (rank >= tokens.size()) tokens.resize(rank + 1);
        if (!tokens[rank].empty()) return std::nullopt;
        tokens[rank] = std::move(token);
    }
    return tokens;
}

}  // namespace tilth
