#include "superword_encode.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>

#include "merge_queue.h"
#include "superword_split.h"

namespace tilth {

namespace {

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool joins_words(const std::string& token) {
    for (std::size_t i = 1; i < token.size(); ++i) {
        if (token[i] == ' ' && is_ascii_letter(token[i - 1])) return true;
    }
    return false;
}

std::size_t index_of(char left, char right) {
    return static_cast<std::size_t>(static_cast<unsigned char>(left)) << 8 | static_cast<unsigned char>(right);
}

/// The merges before the first that joins words.
std::vector<TokenPair> within_words(const std::vector<std::string>& tokens, const std::vector<TokenPair>& merges) {
    const auto first = std::find_if(merges.begin(), merges.end(), [&](const TokenPair& pair) {
        return joins_words(tokens.at(pair.first) + tokens.at(pair.second));
    });
    return {merges.begin(), first};
}

}  // namespace

SuperwordEncoder::SuperwordEncoder(const std::vector<std::string>& tokens,
                                   const std::vector<std::uint32_t>& special_ids,
                                   const std::vector<TokenPair>& merges, int most_digits)
    : words_(tokens, special_ids, within_words(tokens, merges), false),
      pairs_(merges.size()),
      most_digits_(most_digits),
      joins_words_(words_.merges().size() < merges.size()) {
    std::unordered_map<std::string_view, std::uint32_t> ids;
    std::vector<bool> is_special(tokens.size());
    for (const std::uint32_t id : special_ids) is_special[id] = true;
    for (std::uint32_t id = 0; id < tokens.size(); ++id) {
        if (!is_special[id]) ids.emplace(tokens[id], id);
    }
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
        const auto [left, right] = merges[rank];
        const std::string token = tokens[left] + tokens[right];
        const auto found = ids.find(token);
        if (found == ids.end()) throw std::invalid_argument("merge " + std::to_string(rank) + " makes no token");
        pairs_.insert(pair_key(left, right), {rank, found->second});
        if (rank >= words_.merges().size()) continue;
        for (std::size_t i = 1; i < token.size(); ++i) joined_.set(index_of(token[i - 1], token[i]));
    }
}

void SuperwordEncoder::encode(std::string_view text, const SpecialTokens* specials,
                              std::vector<std::uint32_t>& out) const {
    const auto add = [&](std::string_view segment) {
        std::size_t start = 0;
        for (const std::int64_t end : superword_ends(segment, most_digits_)) {
            encode_piece(segment.substr(start, static_cast<std::size_t>(end) - start), out);
            start = static_cast<std::size_t>(end);
        }
    };
    for (const Span& span : BpeEncoder::spans(text, specials, text.size() + 1)) {
        if (span.special != kNone) {
            out.push_back(span.special);
        } else {
            add(span.text);
        }
    }
}

void SuperwordEncoder::encode_piece(std::string_view piece, std::vector<std::uint32_t>& out) const {
    const std::size_t start = out.size();
    encode_words(piece, out);
    if (joins_words_) merge_words(out, start);
}

void SuperwordEncoder::encode_words(std::string_view piece, std::vector<std::uint32_t>& out) const {
    std::size_t start = 0;
    for (std::size_t i = 1; i < piece.size(); ++i) {
        if (joined_[index_of(piece[i - 1], piece[i])]) continue;
        words_.encode_piece(piece.substr(start, i - start), out);
        start = i;
    }
    if (start < piece.size()) words_.encode_piece(piece.substr(start), out);
}

/// Carries out the merges that are left among ids[start:].
void SuperwordEncoder::merge_words(std::vector<std::uint32_t>& ids, std::size_t start) const {
    const auto find = [&](std::uint32_t left, std::uint32_t right) { return pairs_.find(pair_key(left, right)); };
    if (ids.size() - start >= kNone) throw std::length_error("2^32 tokens or more between two boundaries");
    bool merges = false;
    for (std::size_t i = start; i + 1 < ids.size() && !merges; ++i) merges = find(ids[i], ids[i + 1]).rank != kNone;
    if (!merges) return;
    std::vector<std::uint32_t> symbols(ids.begin() + static_cast<std::ptrdiff_t>(start), ids.end());
    merge_with_queue(symbols, find, [] { return false; });
    ids.resize(start);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace tilth
