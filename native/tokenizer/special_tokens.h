// Finds special tokens in text: leftmost first, and of those that start at one position the longest.
//
// A byte trie: a search costs at most the longest token's length per byte of text, however many tokens there are.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tilth {

class SpecialTokens {
  public:
    struct Match {
        std::size_t start, end;  // byte offsets
        std::uint32_t id;
    };

    /// Raises std::invalid_argument for an empty token.
    explicit SpecialTokens(const std::vector<std::pair<std::string, std::uint32_t>>& tokens);

    /// The first match at or behind byte `from`.
    std::optional<Match> find(std::string_view text, std::size_t from) const;

  private:
    struct Node {
        std::map<unsigned char, std::uint32_t> children;
        std::optional<std::uint32_t> id;
    };

    std::size_t next_start(std::string_view text, std::size_t from) const;

    std::vector<Node> nodes_;
    bool starts_token_[256] = {};
};

}  // namespace tilth
