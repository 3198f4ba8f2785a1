#include "special_tokens.h"

#include <algorithm>
#include <stdexcept>

namespace tilth {

SpecialTokens::SpecialTokens(const std::vector<std::pair<std::string, std::uint32_t>>& tokens) : nodes_(1) {
    for (const auto& [token, id] : tokens) {
        if (token.empty()) throw std::invalid_argument("a special token is empty");
        std::uint32_t node = 0;
        for (const char c : token) {
            const auto fresh = static_cast<std::uint32_t>(nodes_.size());
            const auto [child, added] = nodes_[node].children.try_emplace(static_cast<unsigned char>(c), fresh);
            node = child->second;
            if (added) nodes_.emplace_back();
        }
        nodes_[node].id = id;
        starts_token_[static_cast<unsigned char>(token[0])] = true;
    }
}

/// The first byte from `from` on with which a token starts. Most often all start with the same one.
std::size_t SpecialTokens::next_start(std::string_view text, std::size_t from) const {
    if (nodes_[0].children.size() == 1) {
        return std::min(text.find(static_cast<char>(nodes_[0].children.begin()->first), from), text.size());
    }
    while (from < text.size() && !starts_token_[static_cast<unsigned char>(text[from])]) ++from;
    return from;
}

std::optional<SpecialTokens::Match> SpecialTokens::find(std::string_view text, std::size_t from) const {
    for (std::size_t start = next_start(text, from); start < text.size(); start = next_start(text, start + 1)) {
        std::optional<Match> longest;
        std::uint32_t node = 0;
        for (std::size_t i = start; i < text.size(); ++i) {
            const auto child = nodes_[node].children.find(static_cast<unsigned char>(text[i]));
            if (child == nodes_[node].children.end()) break;
            node = child->second;
            if (nodes_[node].id) longest = Match{start, i + 1, *nodes_[node].id};
        }
        if (longest) return longest;
    }
    return std::nullopt;
}

}  // namespace tilth
